"""Questions that show irrational patterns, put to any agent over A2A, and their answers read.

The battery has gambles in both orders, gambles of one question framed as gain and as
loss, preferences among named things, and estimates after a low and a high anchor.
Framed problems follow Tversky and Kahneman (1981), anchors Jacowitz and Kahneman
(1995); numbers and things are drawn by a seed. An answer that is none is counted.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from repertory.simulators.statistics import Estimate

from .choices import ChoiceLog, Gamble, add_choice, expected, fit_prospect, patterns
from .choosers import gambles

_THINGS = (
    "a week at the sea",
    "a week in the mountains",
    "a train pass for a month",
    "a dinner for four",
    "a year of concerts",
    "a new bicycle",
)
_QUANTITIES = (
    ("How long is the Mississippi, in kilometers?", 300, 8000),
    ("How high is Mount Everest, in meters?", 2000, 14000),
    ("How many people live in Chicago, in thousands?", 200, 5000),
    ("How many member states had the United Nations in 2020?", 20, 400),
    ("In which year was the telephone patented?", 1700, 1980),
    ("How fast does a domestic cat run, in kilometers an hour?", 7, 90),
)
_ONLY_LETTER = "Answer with the letter A or B alone."
_LETTER = re.compile(r"\b([AB])\b")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True)
class Item:
    """A question, and the choice-log row that its answer makes; `swapped` says B means a."""

    question: str
    row: Mapping[str, Any]
    swapped: bool = False


def battery(problems: int = 30, seed: int = 0) -> list[Item]:
    """All questions, in an order drawn by the seed; about 2 * problems + 50."""
    items: list[Item] = []
    for choice in gambles(problems, seed):
        for order in ("ab", "ba"):
            row = {"a": choice.a, "b": choice.b, "problem": choice.problem, "order": order}
            items.append(_gamble_item(row, order == "ba"))
    items += _framed(seed)
    for first, second in combinations(_THINGS, 2):
        text = f"Which would you rather have? A: {first}. B: {second}. {_ONLY_LETTER}"
        items.append(Item(text, {"a": first, "b": second}))
    for question, low, high in _QUANTITIES:
        for anchor in (low, high):
            text = (
                f"{question} Is it more or less than {anchor:,}? Answer with your best estimate,"
                " one number alone."
            )
            items.append(Item(text, {"question": question, "anchor": anchor}))
    shuffled = np.random.default_rng(seed).permutation(len(items))
    return [items[int(i)] for i in shuffled]


def _gamble_item(row: Mapping[str, Any], swapped: bool) -> Item:
    first, second = (row["b"], row["a"]) if swapped else (row["a"], row["b"])
    text = f"Choose one. A: {_said(first)}. B: {_said(second)}. {_ONLY_LETTER}"
    return Item(text, row, swapped)


def _said(gamble: Gamble) -> str:
    parts = []
    for outcome, chance in gamble:
        what = "nothing" if not outcome else f"{'win' if outcome > 0 else 'lose'} {abs(outcome):g}"
        parts.append(f"{what} with {100 * chance:g}% chance" if chance < 1 else f"{what} for sure")
    return ", ".join(parts)


def _framed(seed: int) -> list[Item]:
    """The same choice told as people saved and as people who die."""
    items = []
    for number, whole in enumerate(np.random.default_rng(seed).integers(2, 30, 6) * 300):
        third = int(whole) // 3
        sure, risky = [(float(third), 1.0)], [(float(whole), 1 / 3), (0.0, 2 / 3)]
        told = {
            "gain": (
                f"{third} of {whole} people are saved for sure",
                f"with a chance of 1/3 all {whole} are saved, with 2/3 nobody",
            ),
            "loss": (
                f"{int(whole) - third} of {whole} people die for sure",
                f"with a chance of 1/3 nobody dies, with 2/3 all {whole}",
            ),
        }
        for frame, (a, b) in told.items():
            row = {"a": sure, "b": risky, "problem": f"framed {number}", "frame": frame}
            text = f"Choose a program. A: {a}. B: {b}. {_ONLY_LETTER}"
            items.append(Item(text, row))
    return items


def read_answer(item: Item, answer: str, actor: str, log: ChoiceLog) -> bool:
    """Put an answer into the log; False where it is none."""
    row = dict(item.row)
    if "anchor" in row:
        found = _NUMBER.findall(answer)
        if not found:
            return False
        row["estimate"] = float(found[-1].replace(",", ""))
    else:
        letters = set(_LETTER.findall(answer.upper() if len(answer) < 4 else answer))
        if len(letters) != 1:
            return False
        first = (letters == {"A"}) != item.swapped
        row["choice"] = "a" if first else "b"
    add_choice(log, {"actor": actor, **row})
    return True


@dataclass(frozen=True)
class BatteryResult:
    """What a battery showed of one agent; `prospect` is empty where too few gambles were answered."""

    agent: str
    asked: int
    answered: int
    patterns: Mapping[str, Estimate]
    prospect: Mapping[str, float]
    letter_a: float

    def sentences(self) -> list[str]:
        """The result in plain words."""
        told = [f"{self.agent} answered {self.answered} of {self.asked} questions"]
        said = {
            "ev_consistency": "chose the gamble with the higher expected value",
            "intransitivity": "preferred in circles, of triples (.25 at random)",
            "order_flips": "changed a choice when the order was turned",
            "framing_flips": "changed a choice when gains were told as losses",
            "anchoring": "moved estimates with the anchor (0 not at all, 1 wholly)",
        }
        for key, words in said.items():
            estimate = self.patterns[key]
            told.append(f"{words}: {estimate if estimate.n else 'cannot tell, nothing answered'}")
        if self.prospect:
            fit = ", ".join(f"{key} {value:.2f}" for key, value in self.prospect.items())
            told.append(f"prospect theory: {fit} (few gambles: rough)")
        if self.letter_a in (0.0, 1.0) and self.answered:
            told.append("it always gave the same letter, so its choices say nothing")
        return told

    def as_dict(self) -> dict[str, Any]:
        return {
            "agent": self.agent,
            "asked": self.asked,
            "answered": self.answered,
            "letter_a": self.letter_a,
            "patterns": {k: e.as_dict() for k, e in self.patterns.items()},
            "prospect": dict(self.prospect),
        }


def battery_result(agent: str, items: Sequence[Item], answers: Sequence[str]) -> BatteryResult:
    """Read the answers to a battery, in the battery's order."""
    log = ChoiceLog([], [], [], [])
    answered = [read_answer(i, a, agent, log) for i, a in zip(items, answers, strict=True)]
    letters = [
        _LETTER.findall(a)[0]
        for i, a in zip(items, answers, strict=True)
        if "anchor" not in i.row and _LETTER.findall(a)
    ]
    fit: dict[str, float] = {}
    plain = [g for g in log.gambles if not g.frame and expected(g.a) != expected(g.b)]
    if len(plain) >= 20:
        by = fit_prospect(plain)
        fit = {"alpha": by.alpha, "lambda": by.lambda_, "gamma": by.gamma}
    share = letters.count("A") / len(letters) if letters else float("nan")
    return BatteryResult(agent, len(items), sum(answered), patterns(log), fit, share)
