"""Thresholds from decisions that people took.

The cut is the one of the greatest balanced accuracy, in the middle between the two values
that it divides; with it goes its accuracy on folds that it was not fitted on.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from repertory.simulators.errors import SimulatorInputError

from .outcome import load_report

_FOLDS = 5


@dataclass(frozen=True, slots=True)
class Cut:
    """A threshold: accept at `value` or above. held_out: balanced accuracy over 5 folds."""

    value: float
    balanced_accuracy: float
    held_out: float
    n: int


def fit_cut(values: Sequence[float], accepted: Sequence[bool], seed: int = 0) -> Cut:
    """The cut of `values` that divides accepted from rejected best.

    Raises:
        SimulatorInputError: Fewer than 10, or all of one kind.
    """
    x, y = np.asarray(values, dtype=float), np.asarray(accepted, dtype=bool)
    if len(x) < 10 or y.all() or not y.any():
        sentence = (
            f"{len(x)} labels, {int(y.sum())} of them accepted: a cut needs 10 and both kinds"
        )
        raise SimulatorInputError(sentence)
    value, fit = _best(x, y)
    folds = np.random.default_rng(seed).permutation(len(x)) % _FOLDS
    right = []
    for fold in range(_FOLDS):
        inside = folds != fold
        if y[inside].all() or not y[inside].any():
            continue
        cut, _ = _best(x[inside], y[inside])
        right.append((x[~inside] >= cut, y[~inside]))
    told = np.concatenate([said for said, _ in right])
    truth = np.concatenate([true for _, true in right])
    return Cut(value, fit, _balanced(told, truth), len(x))


def _best(
    x: "np.typing.NDArray[np.float64]", y: "np.typing.NDArray[np.bool_]"
) -> tuple[float, float]:
    known = np.unique(x)
    cuts = np.concatenate([[known[0]], (known[1:] + known[:-1]) / 2])
    scores = [_balanced(x >= cut, y) for cut in cuts]
    best = int(np.argmax(scores))
    return float(cuts[best]), float(scores[best])


def _balanced(told: "np.typing.NDArray[np.bool_]", truth: "np.typing.NDArray[np.bool_]") -> float:
    parts = [
        float((told == truth)[truth == kind].mean())
        for kind in (True, False)
        if (truth == kind).any()
    ]
    return sum(parts) / len(parts)


def calibrate_folder(folder: Path, labels: Path) -> str:
    """The thresholds that fit the reports of `folder`, as YAML for a profile.

    Raises:
        SimulatorInputError: The labels cannot be read, or name no report.
    """
    decided = _labels(labels)
    found = {}
    for path in sorted(folder.glob("*.json")):
        if path.name.endswith(".signature.json") or not path.is_file():
            continue
        report = load_report(path)
        if report.manuscript.name in decided:
            found[report.manuscript.name] = report
    if not found:
        sentence = (
            f"{labels}: none of its {len(decided)} names is a manuscript reviewed in {folder}"
        )
        raise SimulatorInputError(sentence, path=str(labels))
    names = sorted(found)
    cut = fit_cut([found[n].scores.S for n in names], [decided[n] for n in names])
    accept = min(max(cut.value, 0.02), 1.0)
    reject = round(min(0.35, accept / 2), 3)
    return (
        f"# Fitted on {cut.n} decisions: balanced accuracy {cut.balanced_accuracy:.3f},"
        f" on folds not fitted on {cut.held_out:.3f} (0.5 is chance).\n"
        f"thresholds: {{reject: {reject:g}, accept: {round(accept, 3):g}}}\n"
    )


def _labels(path: Path) -> dict[str, bool]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SimulatorInputError(f"{path}: it cannot be read: {error}", path=str(path)) from None
    rows = csv.DictReader(text.splitlines())
    if not {"name", "decision"} <= set(rows.fieldnames or ()):
        raise SimulatorInputError(
            f"{path}: its first line must name the columns name and decision", path=str(path)
        )
    decided = {}
    for number, row in enumerate(rows, start=2):
        word = (row["decision"] or "").strip().lower()
        if not word.startswith(("accept", "reject")):
            sentence = f"{path}, line {number}: decision is {row['decision']!r}; it may be accept or reject"
            raise SimulatorInputError(sentence, path=str(path))
        decided[row["name"]] = word.startswith("accept")
    return decided
