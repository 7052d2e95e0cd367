"""Whether the right pack is found, and whether recall is silent where it should be.

    python benchmarks/recall_quality.py [--seeds 2] [--write]

Three arms find the answers of questions whose answers are known: vectors alone, words
alone, and both fused; beside them the same answers under shuffled labels, which is what
chance would reach. Then the floor that recall demands is chosen on the `tuned` half of
the generated tasks and held against the other half and against docstrings of Python's
standard library, none of which it was chosen on. Both errors are counted, by the sort
of question, with Wilson's 95% intervals (questions about one kind of task are alike, so
the true ones are somewhat wider). Needs MiniLM's weights.
"""

import argparse
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio

# Run as a program, this file has only its own folder on the path.
sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.questions import Corpus, Question, Sort, docstrings, tasks
from benchmarks.results import write
from repertory.simulators.statistics import Estimate, bootstrap, wilson
from repertory.xp_store import (
    Asked,
    Embedder,
    Floor,
    MiniLM,
    PackDraft,
    Recall,
    calibrated,
    errors_of,
    open_database,
    open_pack_store,
)

ANYTHING = Floor(-1.0, 0.0)
FALSE_ANSWERS = 0.4
SORTS: tuple[Sort, ...] = ("same words", "paraphrase", "near", "far")


@dataclass(frozen=True, slots=True)
class Answered:
    """A question, and the keys that each arm ranks, best first."""

    question: Question
    arms: dict[str, tuple[str, ...]]
    asked: Asked


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
            found.append(Answered(question, arms, answer.asked(known=bool(question.answers))))
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
    return [Answered(q, e.arms, e.asked) for q, e in zip(questions, known, strict=True)]


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


def silence(sets: dict[str, list[Answered]], floor: Floor) -> list[str]:
    """The table of what is answered, by the sort of question."""
    head = "| | same words | paraphrase | near, not stored | far, not stored |"
    lines = [head, "|---" * 5 + "|"]
    for name, found in sets.items():
        cells = []
        for sort in SORTS:
            some = [each.asked.answered(floor) for each in found if each.question.sort == sort]
            cells.append(_told(wilson(sum(some), len(some))) if some else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


async def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="write into benchmarks/README.md")
    options = parser.parse_args()
    embedder = MiniLM(threads=1)
    sets: dict[str, list[Answered]] = {}
    for half in ("tuned", "held out"):
        found: list[Answered] = []
        for seed in range(options.seeds):
            found += await answers(tasks(half, seed), embedder)
        sets[f"generated tasks, {half}"] = found
    sets["docstrings, held out"] = await answers(docstrings(), embedder)
    floor = calibrated([each.asked for each in sets["generated tasks, tuned"]], FALSE_ANSWERS)
    lines = [*quality(sets), ""]
    for name, found in sets.items():
        wrong = errors_of(floor, [each.asked for each in found])
        print(name, wrong)
    lines += [
        f"Answered at the floor (cosine {floor.cosine:.2f}, words {floor.overlap:.2f}) with the"
        f" fewest false silences of all whose false answers on the tuned half are at most"
        f" {FALSE_ANSWERS:.0%}:",
        "",
        *silence(sets, floor),
    ]
    print("\n".join(lines))
    if options.write:
        write("recall quality", "\n".join(lines))


if __name__ == "__main__":
    anyio.run(main)
