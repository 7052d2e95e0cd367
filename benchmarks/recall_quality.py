"""Whether the right pack is found, and whether recall is silent where it should be.

    python benchmarks/recall_quality.py [--seeds 2] [--write]

Three arms find the answers of questions whose answers are known: vectors alone, words
alone, and both fused; beside them the same answers under shuffled labels, which is what
chance would reach. Then everything that could tell an answerable question from a stranger
is chosen on the `tuned` half of the generated tasks and held against the other half, which
shares no kind with it, and against docstrings of Python's standard library: single measures
by their AUC, a logistic score of all of them (and one that learned shuffled labels), and
the two bars of the floor that recall demands, at four shares of false answers. Both errors
are counted, by the sort of question, with Wilson's 95% intervals (questions about one kind
of task are alike, so the true ones are somewhat wider). Needs MiniLM's weights.
"""

import argparse
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import numpy as np
import numpy.typing as npt

# Run as a program, this file has only its own folder on the path.
sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.questions import Corpus, Question, Sort, docstrings, tasks
from benchmarks.results import write
from repertory.simulators.statistics import Estimate, auc, bootstrap, wilson
from repertory.xp_store import (
    Asked,
    Embedder,
    Floor,
    MiniLM,
    PackDraft,
    Recall,
    calibrated,
    open_database,
    open_pack_store,
)

ANYTHING = Floor(-1.0, 0.0)
FALSE_ANSWERS = (0.1, 0.2, 0.3, 0.4)
CHOSEN = 0.2
TUNED = "generated tasks, tuned"
SORTS: tuple[Sort, ...] = ("same words", "paraphrase", "near", "far")


@dataclass(frozen=True, slots=True)
class Answered:
    """A question, the keys that each arm ranks, best first, and what was measured of the answer."""

    question: Question
    arms: dict[str, tuple[str, ...]]
    asked: Asked
    measures: tuple[float, ...]


MEASURES = (
    "cosine of the nearest",
    "its lead over the next five",
    "words: share of what the question tells that one pack holds (BM25 over its greatest value)",
    "of the question's three rarest words, the share that one pack holds",
    "share of the question's words that any pack holds",
)


def measures_of(answer: Recall) -> tuple[float, ...]:
    """What could tell whether the store holds what is asked for; in the order of `MEASURES`."""
    cosines = sorted((c.reasons.cosine or 0.0 for c in answer.considered), reverse=True)
    rare = {word for word, _, _ in answer.terms[:3]}
    held = [set(c.reasons.matched) for c in answer.considered]
    return (
        cosines[0] if cosines else 0.0,
        cosines[0] - float(np.mean(cosines[1:6])) if len(cosines) > 1 else 0.0,
        max((c.reasons.overlap for c in answer.considered), default=0.0),
        max((len(each & rare) for each in held), default=0) / max(len(rare), 1),
        float(np.mean([packs > 0 for _, packs, _ in answer.terms])) if answer.terms else 0.0,
    )


async def answers(corpus: Corpus, embedder: Embedder) -> list[Answered]:
    """Store the texts, ask the questions, and keep what each arm ranked."""
    async with (
        open_database("sqlite:///:memory:") as database,
        open_pack_store(database, embedder=embedder, floor=ANYTHING) as store,
    ):
        keys: dict[str, str] = {}
        for key, text in corpus.texts.items():
            keys[(await store.record(PackDraft("default", "bench", text))).id] = key
        await store.wait_indexed()
        found = []
        for question in corpus.questions:
            answer = await store.explain(question.text, limit=25, diversity=0.0)
            arms = {name: _ranked(answer, name, keys) for name in ("vectors", "words", "fused")}
            asked = answer.asked(known=bool(question.answers))
            found.append(Answered(question, arms, asked, measures_of(answer)))
        return found


def _ranked(answer: Recall, arm: str, keys: dict[str, str]) -> tuple[str, ...]:
    ranks: list[tuple[float, str]] = []
    for place, each in enumerate(answer.considered):
        rank = {
            "vectors": each.reasons.vector_rank,
            "words": each.reasons.text_rank,
            "fused": place,
        }[arm]
        if rank is not None:
            ranks.append((rank, keys[each.id]))
    return tuple(key for _, key in sorted(ranks, key=lambda ranked: ranked[0]))


def hit_rates(found: Sequence[Answered], arm: str, depth: int) -> list[float]:
    """For each question that has answers: the share of them among the first `depth`."""
    rates = []
    for each in found:
        wanted = each.question.answers
        if wanted:
            got = set(each.arms[arm][:depth]) & wanted
            rates.append(len(got) / min(depth, len(wanted)))
    return rates


def shuffled(found: Sequence[Answered], seed: int = 0) -> list[Answered]:
    """The same rankings held against the answers of other questions."""
    known = [each for each in found if each.question.answers]
    questions = [each.question for each in known]
    random.Random(seed).shuffle(questions)
    return [replace(e, question=q) for q, e in zip(questions, known, strict=True)]


def _told(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} ({estimate.low:.2f}–{estimate.high:.2f})"


def _mean(rates: Sequence[float]) -> str:
    return _told(bootstrap(lambda values: float(values.mean()), list(rates)))


def quality(sets: dict[str, list[Answered]]) -> list[str]:
    """The table of what is found."""
    head = "| questions with an answer | n | vectors @1; @10 | words @1; @10 | fused @1; @10 | shuffled @10 |"
    lines = [head, "|---" * 6 + "|"]
    for name, found in sets.items():
        cells = [
            f"{_mean(hit_rates(found, arm, 1))}; {_mean(hit_rates(found, arm, 10))}"
            for arm in ("vectors", "words", "fused")
        ]
        control = _mean(hit_rates(shuffled(found), "fused", 10))
        count = len(hit_rates(found, "fused", 1))
        lines.append(f"| {name} | {count} | {' | '.join(cells)} | {control} |")
    return lines


Floats = npt.NDArray[np.float64]
Score = Callable[[Sequence[Answered]], Floats]


def _known(found: Sequence[Answered]) -> npt.NDArray[np.bool_]:
    return np.array([each.asked.known for each in found])


def _measured(found: Sequence[Answered]) -> Floats:
    return np.array([each.measures for each in found], dtype=np.float64)


def logistic(tuned: Sequence[Answered], *, shuffle: bool = False) -> Score:
    """A logistic score of all measures, learned on `tuned`; shuffle: of labels that mean nothing."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    labels = _known(tuned)
    if shuffle:
        labels = np.random.default_rng(0).permutation(labels)
    rule = make_pipeline(StandardScaler(), LogisticRegression()).fit(_measured(tuned), labels)

    def score(found: Sequence[Answered]) -> Floats:
        told: Floats = rule.decision_function(_measured(found))
        return told

    return score


def _column(place: int) -> Score:
    return lambda found: _measured(found)[:, place]


def separation(sets: dict[str, list[Answered]]) -> list[str]:
    """The table of what tells answerable questions from strangers, each set for itself."""
    scores = {name: _column(place) for place, name in enumerate(MEASURES)}
    scores["a logistic score of all five"] = logistic(sets[TUNED])
    scores["control: the same, learned on shuffled labels"] = logistic(sets[TUNED], shuffle=True)
    lines = [f"| AUC | {' | '.join(sets)} |", "|---" * (1 + len(sets)) + "|"]
    for name, score in scores.items():
        cells = [_told(bootstrap(auc, _known(each), score(each))) for each in sets.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def threshold(score: Score, tuned: Sequence[Answered], false_answers: float) -> float:
    """The split conformal threshold: a stranger like those of `tuned` is above it so often at most."""
    strangers = np.sort(score([each for each in tuned if not each.asked.known]))
    rank = int(np.ceil((len(strangers) + 1) * (1 - false_answers)))
    return float(strangers[rank - 1]) if rank <= len(strangers) else float("inf")


def silence(sets: dict[str, list[Answered]]) -> list[str]:
    """The table of what is answered at each share of false answers, by the sort of question."""
    tuned = sets[TUNED]
    every, score = [each.asked for each in tuned], logistic(tuned)
    head = "| false answers allowed | questions | same words | paraphrase | near, not stored | far, not stored |"
    lines = [head, "|---" * 6 + "|"]
    for allowed in FALSE_ANSWERS:
        floor = calibrated(every, allowed)
        above = threshold(score, tuned, allowed)
        default = ", the default" if allowed == CHOSEN else ""
        told = f"{allowed:.0%}: cosine {floor.cosine:.2f} or words {floor.overlap:.2f}{default}"
        for name, found in sets.items():
            answered = [each.asked.answered(floor) for each in found]
            lines.append(f"| {told} | {name} | {_by_sort(found, answered)} |")
        for name, found in sets.items():
            if name != TUNED:
                passed = (score(found) > above).tolist()
                lines.append(
                    f"| {allowed:.0%}: logistic score | {name} | {_by_sort(found, passed)} |"
                )
    return lines


def _by_sort(found: Sequence[Answered], answered: Sequence[bool]) -> str:
    cells = []
    for sort in SORTS:
        some = [a for each, a in zip(found, answered, strict=True) if each.question.sort == sort]
        cells.append(_told(wilson(sum(some), len(some))) if some else "")
    return " | ".join(cells)


async def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="write into benchmarks/README.md")
    options = parser.parse_args()
    embedder = MiniLM(threads=1)
    sets: dict[str, list[Answered]] = {}
    for name, half in ((TUNED, "tuned"), ("generated tasks, held out", "held out")):
        found: list[Answered] = []
        for seed in range(options.seeds):
            found += await answers(tasks(half, seed), embedder)
        sets[name] = found
    sets["docstrings, held out"] = await answers(docstrings(), embedder)
    lines = [
        *quality(sets),
        "",
        "How well anything tells a question whose answer is stored from one whose answer is not"
        " (.5 is chance):",
        "",
        *separation(sets),
        "",
        "What is answered, by two bars of which one suffices (those with the fewest false silences"
        " of all that answer so many strangers of the tuned half at most), and by the logistic"
        " score above a conformal threshold of the same half:",
        "",
        *silence(sets),
    ]
    print("\n".join(lines))
    if options.write:
        write("recall quality", "\n".join(lines))


if __name__ == "__main__":
    anyio.run(main)
