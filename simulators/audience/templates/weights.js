"use strict";
// The overall score is the weighted sum of the audiences' scores, so other weights need no new run.
const inputs = [...document.querySelectorAll("input[data-audience]")];
const body = document.querySelector("#ranking tbody");
const rows = [...body.rows];
const given = inputs.map((input) => input.value);
const told = document.querySelector("#weights-told");

function rank() {
  const raw = inputs.map((input) => Math.max(0, Number(input.value) || 0));
  const total = raw.reduce((sum, value) => sum + value, 0);
  inputs.forEach((input, i) => {
    const share = total > 0 ? raw[i] / total : 0;
    input.nextElementSibling.textContent = Math.round(100 * share) + "%";
  });
  if (total <= 0) {
    told.textContent = "Give at least one audience a weight above 0.";
    return;
  }
  const scored = rows.map((row) => {
    const scores = JSON.parse(row.dataset.scores);
    const score = scores.reduce((sum, value, i) => sum + (value * raw[i]) / total, 0);
    return { row, score };
  });
  scored.sort((a, b) => b.score - a.score || a.row.dataset.place - b.row.dataset.place);
  scored.forEach(({ row, score }, i) => {
    row.cells[0].textContent = i + 1;
    row.cells[2].textContent = score.toFixed(2);
    row.cells[3].hidden = false;
    body.append(row);
  });
  const changed = inputs.some((input, i) => input.value !== given[i]);
  document.querySelector("#ranking").classList.toggle("changed", changed);
  told.textContent = changed
    ? "First under these weights: " + scored[0].row.cells[1].textContent.trim() +
      ". Intervals are those of the weights as given."
    : "";
}

inputs.forEach((input) => input.addEventListener("input", rank));
document.querySelector("#weights-reset").addEventListener("click", () => {
  inputs.forEach((input, i) => { input.value = given[i]; });
  rank();
});
document.querySelector("#weights").hidden = false;
