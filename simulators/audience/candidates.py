"""Candidates, how many there must be, and how they are put together without a model.

The count is the paper's, as `shared` definitions have it: every non-empty subset of
the advice up to a size, r candidates each. Without a model a candidate is the draft
(or the facts) with the advice's own sentences in their places; nothing is invented.
"""

from collections.abc import Sequence
from itertools import combinations
from math import comb
from typing import Literal

from pydantic import BaseModel, ConfigDict

from repertory.simulators import SimulatorInputError

from .facts import Flag
from .features import sentences_in, words_in
from .scenario import Advice, Scenario

Origin = Literal["advice", "zero-shot", "chain-of-thought", "draft", "given", "plain"]
Writer = Literal["model", "sentences", "person"]

_TITLES = {
    "draft": "Your draft",
    "plain": "The facts alone",
    "zero_shot": "Zero-shot baseline",
    "chain_of_thought": "Chain-of-thought baseline",
}
# What the shortened draft keeps, for the first, second and third candidate of a set.
_KEPT = (0.5, 0.67, 0.34)


class Candidate(BaseModel):
    """One thing that could be said.

    id: stable within a run, as `a1+a3/2`. advice: positions of the advice it follows, from 0.
    writer: a model, the advice's own sentences, or a person.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    text: str
    origin: Origin
    writer: Writer
    advice: tuple[int, ...] = ()
    flags: tuple[Flag, ...] = ()

    @property
    def title(self) -> str:
        """What it is called for a reader."""
        if self.origin == "advice":
            pieces = " + ".join(str(i + 1) for i in self.advice)
            return f"Advice {pieces}, no. {self.id.rpartition('/')[2]}"
        return _TITLES.get(self.id, self.id)


def subsets(pieces: int, largest: int) -> list[tuple[int, ...]]:
    """Every non-empty subset of `pieces` positions up to size `largest`, small ones first."""
    sizes = range(1, min(largest, pieces) + 1)
    return [subset for size in sizes for subset in combinations(range(pieces), size)]


def expected_count(pieces: int, largest: int, per_set: int) -> int:
    """How many candidates follow advice: r times the sum of C(pieces, j) for j up to `largest`."""
    return per_set * sum(comb(pieces, size) for size in range(1, min(largest, pieces) + 1))


def candidate_id(subset: Sequence[int], variant: int) -> str:
    """The name of the `variant`-th candidate (from 0) of a subset of the advice."""
    return "+".join(f"a{i + 1}" for i in subset) + f"/{variant + 1}"


def given_candidates(scenario: Scenario) -> list[Candidate]:
    """What the scenario brings along: the draft, candidates and baselines of its author."""
    found = []
    if scenario.draft.strip():
        found.append(Candidate(id="draft", text=scenario.draft, origin="draft", writer="person"))
    for given in scenario.candidates:
        advice = tuple(i - 1 for i in given.advice)
        found.append(
            Candidate(
                id=given.name, text=given.text, origin="given", writer="person", advice=advice
            )
        )
    baselines = scenario.baselines
    if baselines.zero_shot.strip():
        text = baselines.zero_shot.strip()
        found.append(Candidate(id="zero_shot", text=text, origin="zero-shot", writer="person"))
    if baselines.chain_of_thought.strip():
        text = baselines.chain_of_thought.strip()
        found.append(
            Candidate(id="chain_of_thought", text=text, origin="chain-of-thought", writer="person")
        )
    return found


def composed_candidates(scenario: Scenario, advice: Sequence[Advice]) -> list[Candidate]:
    """All candidates that follow advice, in the advice's own sentences.

    Raises:
        SimulatorInputError: There is nothing to start from, or the advice has too few
            sentences for the candidates that are wanted to differ.
    """
    base = _base(scenario)
    wanted = scenario.search.candidates_per_set
    found: dict[str, str] = {}
    made = []
    for subset in subsets(len(advice), scenario.search.largest_set):
        for variant in range(wanted):
            text = compose(base, scenario.goal, [advice[i] for i in subset], variant)
            name = candidate_id(subset, variant)
            twin = found.setdefault(" ".join(text.split()), name)
            if twin != name:
                told = " and ".join(f"{advice[i].text!r}" for i in subset)
                raise SimulatorInputError(
                    f"{name} would say the same as {twin}: without a model {wanted} candidates of"
                    f" a set need {wanted} different sentences of advice; give {told} more, or"
                    " lower search.candidates_per_set",
                    candidate=name,
                )
            made.append(
                Candidate(id=name, text=text, origin="advice", writer="sentences", advice=subset)
            )
    return made


def compose(base: Sequence[str], goal: str, advice: Sequence[Advice], variant: int) -> str:
    """One candidate: the base's sentences, edited, with each advice's sentence in its place."""
    body = list(base)
    for each in advice:
        if each.edit == "shorten":
            keep = max(1, round(len(body) * _KEPT[variant % len(_KEPT)]))
            body = _nearest(body, goal, keep)
        elif each.edit == "lead":
            body = _led(body, goal, variant)
    spoken = {
        place: [
            each.sentences[variant % len(each.sentences)]
            for each in advice
            if each.place == place and each.sentences
        ]
        for place in ("opening", "body", "closing")
    }
    middle = max(1, len(body) // 2)
    parts = (spoken["opening"], body[:middle], spoken["body"], body[middle:], spoken["closing"])
    return " ".join(sentence for part in parts for sentence in part)


def plain_candidate(scenario: Scenario) -> Candidate | None:
    """The facts in their order: the baseline without advice and without a model."""
    if not scenario.facts or not scenario.draft.strip():
        return None
    text = " ".join(_ended(fact) for fact in scenario.facts)
    return Candidate(id="plain", text=text, origin="plain", writer="sentences")


def _base(scenario: Scenario) -> list[str]:
    draft = sentences_in(scenario.draft)
    if draft:
        return draft
    if scenario.facts:
        return [_ended(fact) for fact in scenario.facts]
    raise SimulatorInputError(
        f"scenario {scenario.name!r} has neither a draft nor facts, and no model that writes:"
        " there is nothing to put candidates together from",
        scenario=scenario.name,
    )


def _ended(sentence: str) -> str:
    return sentence if sentence.rstrip()[-1:] in ".!?" else f"{sentence.rstrip()}."


def _overlap(sentence: str, goal: str) -> float:
    """The share of a sentence's longer words that the goal has too."""
    words = {word for word in words_in(sentence) if len(word) > 3}
    return len(words & set(words_in(goal))) / max(1, len(words))


def _nearest(body: list[str], goal: str, keep: int) -> list[str]:
    """The sentences that speak most to the goal, in their own order; earlier ones of equals."""
    ranked = sorted(range(len(body)), key=lambda i: (-_overlap(body[i], goal), i))
    return [body[i] for i in sorted(ranked[:keep])]


def _led(body: list[str], goal: str, variant: int) -> list[str]:
    """The sentence that speaks most to the goal first; for later variants the next ones."""
    ranked = sorted(range(len(body)), key=lambda i: (-_overlap(body[i], goal), i))
    first = ranked[variant % len(ranked)]
    return [body[first], *(sentence for i, sentence in enumerate(body) if i != first)]
