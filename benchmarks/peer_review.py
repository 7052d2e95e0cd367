"""The peer-review simulator held against human data: substantiation, ratings, decisions, with controls.

`--train` and `--test` are folders laid out like the shared data; a part of a folder that
is missing is left out with a line. Rows of the test never reach training: what is in
both folders is dropped from training, and by default both are a split of the shared part.
"""

import argparse
import ast
import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.results import write
from repertory.simulators import SimulatorInputError
from repertory.simulators.peer_review.audit import audit_rows
from repertory.simulators.peer_review.rating import fit_rating
from repertory.simulators.peer_review.substantiation import Finder, Reading
from repertory.simulators.peer_review.substantiation_agreement import (
    KINDS,
    keyword_reading,
    matched_support,
    overlap,
)
from repertory.simulators.peer_review.substantiation_training import (
    Annotated,
    annotated,
    fit_finder,
)
from repertory.simulators.statistics import (
    Estimate,
    auc,
    bootstrap,
    correlation,
    pearson,
    permutation_p,
    spearman,
    wilson,
)

SHARED = Path(os.environ.get("REPERTORY_DATA", Path(__file__).parents[2] / "shared" / "data"))
TRAINING_TENTHS = 7
SHUFFLES = 200


@dataclass
class Table:
    """Lines of a result: a name, an estimate or a plain number, and a word on it."""

    title: str
    lines: list[tuple[str, Any, str]] = field(default_factory=list)

    def add(self, name: str, value: Any, note: str = "") -> None:
        self.lines.append((name, value, note))

    def as_dict(self) -> dict[str, Any]:
        return {
            name: {"result": _told(value), **({"note": note} if note else {})}
            for name, value, note in self.lines
        }

    def as_markdown(self) -> str:
        rows = [f"| {name} | {_shown(value)} | {note} |" for name, value, note in self.lines]
        return "\n".join([f"| {self.title} | value [95% interval] | |", "|---|---|---|", *rows])


def _told(value: Any) -> Any:
    if isinstance(value, Estimate):
        return value.as_dict()
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


@dataclass
class Rows:
    """One kind of rows, apart for training and test."""

    train: list[Any]
    test: list[Any]


def split(
    load: Callable[[Path], list[Any]],
    key: Callable[[Any], str],
    train: Path | None,
    test: Path | None,
) -> Rows:
    """The rows of two folders; of one folder for both, seven tenths by the digest of their id.

    key: what makes two rows of different folders the same.
    """
    if train is None and test is None:
        rows = load(SHARED)
        tenth = [int(sha256(row.id.encode()).hexdigest(), 16) % 10 for row in rows]
        return Rows(
            [r for r, t in zip(rows, tenth, strict=True) if t < TRAINING_TENTHS],
            [r for r, t in zip(rows, tenth, strict=True) if t >= TRAINING_TENTHS],
        )
    held = load(test or SHARED)
    seen = {key(row) for row in held}
    return Rows([row for row in load(train or SHARED) if key(row) not in seen], held)


def load_reviews(folder: Path) -> list[Annotated]:
    path = folder / "substanreview" / "reviews.jsonl"
    if not path.is_file():
        return []
    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    return [
        annotated(_object(line, f"{path}:{i}"), f"{path}:{i}") for i, line in enumerate(lines, 1)
    ]


def _object(line: str, place: str) -> dict[str, Any]:
    try:
        told = json.loads(line)
    except json.JSONDecodeError:
        told = None
    if not isinstance(told, dict):
        raise SimulatorInputError(f"{place}: is no JSON object {{id, review, label}}")
    return told


def measure_substantiation(rows: Rows, finder: Finder, folds: int) -> list[Table]:
    """The finder on the test reviews, and on the training reviews by cross-validation."""
    tables = [
        _agreement(
            f"SubstanReview: {len(rows.test)} test reviews, trained on {len(rows.train)} others",
            rows.test,
            [finder.read(row.review) for row in rows.test],
        )
    ]
    if folds > 1:
        readings: list[Reading | None] = [None] * len(rows.train)
        for fold in range(folds):
            others = [row for i, row in enumerate(rows.train) if i % folds != fold]
            held = fit_finder(others)
            for i in range(fold, len(rows.train), folds):
                readings[i] = held.read(rows.train[i].review)
        title = f"SubstanReview: {len(rows.train)} training reviews, {folds}-fold by review"
        tables.append(_agreement(title, rows.train, [r for r in readings if r is not None]))
    return tables


def _agreement(title: str, rows: Sequence[Annotated], readings: Sequence[Reading]) -> Table:
    table = Table(title)
    keyword = [keyword_reading(row.review) for row in rows]
    for kind in KINDS:
        ours = _f1(rows, readings, kind)
        table.add(f"{kind} F1, by characters", ours, f"by keywords {_f1(rows, keyword, kind)}")
    pairs = [matched_support(row, reading) for row, reading in zip(rows, readings, strict=True)]
    owner = [i for i, found in enumerate(pairs) for _ in found]
    flat = [pair for found in pairs for pair in found]
    table.add(
        "support of a found claim, AUC",
        bootstrap(auc, [t for t, _ in flat], [s for _, s in flat], groups=owner),
        f"{len(flat)} found claims that overlap an annotated one",
    )
    _shares(table, rows, readings, keyword)
    return table


def _f1(rows: Sequence[Annotated], readings: Sequence[Reading], kind: str) -> Estimate:
    counted = [overlap(row, reading, kind) for row, reading in zip(rows, readings, strict=True)]

    def of(both: Any, found: Any, gold: Any) -> float:
        total = float(np.sum(found) + np.sum(gold))
        return 2 * float(np.sum(both)) / total if total else float("nan")

    columns = [[getattr(c, name) for c in counted] for name in ("both", "found", "annotated")]
    return bootstrap(of, *columns)


def _shares(
    table: Table,
    rows: Sequence[Annotated],
    readings: Sequence[Reading],
    keyword: Sequence[Reading],
) -> None:
    """Rank correlation of each review's score with its annotated share, and the controls."""
    known = [i for i, row in enumerate(rows) if row.claims]
    gold = np.array([rows[i].share for i in known])
    # A review without found claims has no score; the mean keeps it among the rows.
    score = _filled([readings[i].expected for i in known])
    counted = _filled([_share(readings[i]) for i in known])
    words = np.array([len(rows[i].review.split()) for i in known], dtype=float)
    negative = _filled([_negative(readings[i]) for i in known])
    table.add("substantiation with the annotated share, ρ", correlation(score, gold))
    table.add("the same, from counted claims, ρ", correlation(counted, gold))
    table.add("the same, beyond length, ρ", bootstrap(_partial, score, gold, words))
    table.add(
        "baseline: keywords, ρ", correlation(_filled([_share(keyword[i]) for i in known]), gold)
    )
    table.add("control: length in words, ρ", correlation(words, gold))
    table.add("control: share of negative claims found, ρ", correlation(negative, gold))
    table.add(
        "control: score less length, difference of ρ",
        bootstrap(lambda s, g, w: spearman(s, g) - spearman(w, g), score, gold, words),
    )
    rng = np.random.default_rng(0)
    null = [spearman(score, rng.permutation(gold)) for _ in range(SHUFFLES)]
    table.add(
        "control: shuffled shares, ρ",
        float(np.mean(null)),
        f"p {permutation_p(spearman(score, gold), null):.3f}",
    )
    table.add("mean share, annotated", bootstrap(_mean, gold), f"ours {bootstrap(_mean, score)}")


def _share(reading: Reading) -> float | None:
    claims = reading.claims
    return sum(c.supported for c in claims) / len(claims) if claims else None


def _negative(reading: Reading) -> float | None:
    claims = reading.claims
    return sum(c.polarity == "negative" for c in claims) / len(claims) if claims else None


def _filled(values: Sequence[float | None]) -> Any:
    known = [v for v in values if v is not None]
    middle = float(np.mean(known)) if known else float("nan")
    return np.array([middle if v is None else v for v in values])


def _mean(values: Any) -> float:
    return float(np.mean(values))


def _partial(x: Any, y: Any, z: Any) -> float:
    """Spearman's correlation of x and y with z held constant."""
    xy, xz, yz = spearman(x, y), spearman(x, z), spearman(y, z)
    return float((xy - xz * yz) / np.sqrt((1 - xz * xz) * (1 - yz * yz)))


@dataclass(frozen=True)
class Rated:
    """A model's review, its own overall rating, and what people made of the paper."""

    id: str
    review: str
    overall: float
    mean: float
    accepted: bool


def load_rated(folder: Path) -> list[Rated]:
    place = folder / "llm_reviews"
    ratings = place / "human_ratings.tsv"
    tables = sorted(place.glob("*_reviews.csv"))
    if not ratings.is_file() or not tables:
        return []
    with ratings.open(encoding="utf-8", newline="") as file:
        people = {row["paper_id"]: row for row in csv.DictReader(file, delimiter="\t")}
    rows = []
    with tables[0].open(encoding="utf-8", newline="") as file:
        for told in csv.DictReader(file):
            person = people.get(told["paper_id"])
            given = [float(v) for k, v in (person or {}).items() if k.isdigit() and v]
            if person and given and told["Overall"]:
                rows.append(
                    Rated(
                        told["paper_id"],
                        _review_text(told),
                        float(told["Overall"]),
                        float(np.mean(given)),
                        person["decision"].startswith("Accept"),
                    )
                )
    return rows


def _review_text(told: dict[str, str]) -> str:
    """A form's fields as a review under its headings."""
    parts = [f"Summary\n{told['Summary']}"]
    for name in ("Strengths", "Weaknesses", "Questions", "Limitations"):
        parts.append(name + "".join(f"\n- {item}" for item in _items(told[name])))
    return "\n".join(parts)


def _items(told: str) -> list[str]:
    try:
        found = ast.literal_eval(told)
    except (ValueError, SyntaxError):
        return [told] if told else []
    return [str(item) for item in found] if isinstance(found, list) else [str(found)]


def measure_ratings(rows: Rows) -> Table:
    """The rating rule on test reviews, beside their own overall rating, length and shuffled labels."""
    test: list[Rated] = rows.test
    rule = _rule(rows.train)
    rated = rule.rate([row.review for row in test])
    own = np.array([row.overall for row in test])
    words = np.array([len(row.review.split()) for row in test], dtype=float)
    accepted = np.array([row.accepted for row in test])
    mean = np.array([row.mean for row in test])
    both = _ranked(rated) + _ranked(own)
    table = Table(
        f"GPT-4o reviews: {len(test)} test papers, {int(accepted.sum())} accepted,"
        f" the rule fitted on {len(rows.train)} others"
    )
    for name, score in (
        ("rule from text", rated),
        ("the reviews' own Overall", own),
        ("text and Overall, by mean rank", both),
        ("control: length in words", words),
    ):
        table.add(f"{name}, AUC of acceptance", bootstrap(auc, accepted, score))
        table.add(f"{name}, ρ with people's mean", correlation(score, mean))
    table.add(
        "rule less Overall, difference of AUC",
        bootstrap(lambda a, r, o: auc(a, r) - auc(a, o), accepted, rated, own),
    )
    null = _shuffled_rules(rows.train, test, accepted)
    table.add(
        "control: rules fitted to shuffled ratings, AUC",
        float(np.mean(null)),
        f"{len(null)} rules, {min(null):.2f} to {max(null):.2f};"
        f" p {permutation_p(auc(accepted, rated), null):.3f}",
    )
    return table


def _rule(rows: Sequence[Rated], order: Sequence[int] | None = None) -> Any:
    places = range(len(rows)) if order is None else order
    return fit_rating(
        [row.review for row in rows],
        [rows[i].mean for i in places],
        own=[rows[i].overall for i in places],
    )


def _shuffled_rules(train: Sequence[Rated], test: Sequence[Rated], accepted: Any) -> list[float]:
    rng = np.random.default_rng(0)
    texts = [row.review for row in test]
    return [
        auc(accepted, _rule(train, [int(i) for i in rng.permutation(len(train))]).rate(texts))
        for _ in range(20)
    ]


def _ranked(values: Any) -> Any:
    return np.argsort(np.argsort(values, kind="stable"), kind="stable").astype(float)


def audit_table(rows: Sequence[Rated], people: Sequence[Annotated], finder: Finder) -> Table:
    """Our audit of the models' reviews beside that of people's, by one finder."""
    table = Table("The same audit of reviews by GPT-4o and by people (the test rows of both)")
    for who, reviews in (
        ("GPT-4o", [(row.id, row.review) for row in rows]),
        ("people", [(row.id, row.review) for row in people]),
    ):
        corpus = audit_rows(reviews, finder=finder).corpus
        for name in ("substantiation", "supported_share", "anchor_fraction", "study1_compliance"):
            told = getattr(corpus, name)
            value, low, high = (
                float("nan") if told[k] is None else told[k] for k in ("value", "low", "high")
            )
            estimate = Estimate(value, low, high, told["n"])
            table.add(f"{who}: {name.replace('_', ' ')}", estimate, f"{corpus.reviews} reviews")
    return table


@dataclass(frozen=True)
class Decided:
    """A submission with its ratings and whether it was accepted."""

    id: str
    ratings: tuple[float, ...]
    accepted: bool


def load_decided(folder: Path) -> list[Decided]:
    path = folder / "iclr2020" / "ratings_decisions.csv"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        Decided(
            row["forum"],
            tuple(float(v) for v in row["ratings"].split(",")),
            row["decision"].startswith("Accept"),
        )
        for row in rows
        if row["ratings"] and (row["decision"].startswith(("Accept", "Reject")))
    ]


def measure_decisions(rows: Rows) -> Table:
    """People's mean rating against the decision; the cut is fitted on training rows."""
    test: list[Decided] = rows.test
    mean = np.array([np.mean(row.ratings) for row in test])
    accepted = np.array([row.accepted for row in test])
    cut = best_cut(
        [float(np.mean(r.ratings)) for r in rows.train], [r.accepted for r in rows.train]
    )
    above = mean >= cut
    table = Table(f"ICLR 2020: {len(test)} test submissions, the cut from {len(rows.train)} others")
    table.add("mean rating, AUC of acceptance", bootstrap(auc, accepted, mean))
    table.add("one reviewer alone, AUC", bootstrap(auc, accepted, [r.ratings[0] for r in test]))
    table.add("best cut", cut)
    table.add("accuracy at the cut", bootstrap(_mean, above == accepted))
    table.add("balanced accuracy at the cut", bootstrap(_balanced, accepted, above))
    pairs = [
        (a, b, i)
        for i, row in enumerate(test)
        for k, a in enumerate(row.ratings)
        for j, b in enumerate(row.ratings)
        if j != k
    ]
    first, second, paper = (np.array(c) for c in zip(*pairs, strict=True))
    table.add(
        "two reviewers of a paper, r", bootstrap(pearson, first, second, groups=paper, draws=300)
    )
    table.add(
        "two reviewers, mean difference",
        bootstrap(_mean, np.abs(first - second), groups=paper, draws=300),
    )
    rng = np.random.default_rng(0)
    null = [auc(rng.permutation(accepted), mean) for _ in range(SHUFFLES)]
    table.add(
        "control: shuffled decisions, AUC",
        float(np.mean(null)),
        f"p {permutation_p(auc(accepted, mean), null):.3f}",
    )
    return table


def best_cut(ratings: Sequence[float], accepted: Sequence[bool]) -> float:
    """The cut of the best accuracy, between two ratings that occur; of equals the middle one."""
    values = np.array(ratings)
    truth = np.array(accepted)
    levels = np.unique(values)
    cuts = (levels[1:] + levels[:-1]) / 2
    right = np.array([((values >= c) == truth).mean() for c in cuts])
    best = cuts[right == right.max()]
    return float(best[len(best) // 2])


def _balanced(truth: Any, said: Any) -> float:
    return float((said[truth].mean() + (~said[~truth]).mean()) / 2)


def measure(train: Path | None, test: Path | None, folds: int) -> list[Table]:
    """All tables for which both folders have rows."""
    of = partial(split, train=train, test=test)
    reviews = of(load_reviews, lambda row: sha256(row.review.encode()).hexdigest())
    rated = of(load_rated, lambda row: row.id)
    decided = of(load_decided, lambda row: row.id)
    tables = []
    finder = None
    if _enough("substanreview", reviews):
        finder = fit_finder(reviews.train)
        tables += measure_substantiation(reviews, finder, folds)
    if _enough("llm_reviews", rated):
        tables.append(measure_ratings(rated))
        if finder is not None:
            tables.append(audit_table(rated.test, reviews.test, finder))
    if _enough("iclr2020", decided):
        tables.append(measure_decisions(decided))
    return tables


_REVIEW = """
import json, re, resource, sys, time
from pathlib import Path
from repertory.simulators.peer_review import load_profile, read_manuscript
from repertory.simulators.peer_review.reviewing import review
path = Path(sys.argv[1])
wall, cpu = time.perf_counter(), time.process_time()
manuscript = read_manuscript(path.name, path.read_bytes())
report = review(manuscript, load_profile("journal"))
report.to_json()
# Where Linux tells it: getrusage counts what the parent had before the program was loaded.
status = Path("/proc/self/status")
found = re.search(r"VmHWM:\\s+(\\d+) kB", status.read_text()) if status.exists() else None
peak = int(found[1]) / 1024 if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"pages": len(manuscript.pages), "wall": time.perf_counter() - wall,
                  "cpu": time.process_time() - cpu, "issues": len(report.issues),
                  "loose": len(report.ungrounded),
                  "mb": peak}))
"""


def measure_manuscripts(folder: Path | None) -> Table:
    """Seconds and memory of a review by rules, each manuscript in a process of its own."""
    with TemporaryDirectory() as made:
        paths = sorted(folder.glob("*.pdf")) if folder else [_ten_pages(Path(made) / "ten.pdf")]
        rows = []
        for path in paths:
            done = subprocess.run(
                [sys.executable, "-c", _REVIEW, str(path)],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                print(f"{path.name}: not reviewed: {done.stderr.strip().splitlines()[-1]}")
                continue
            rows.append(json.loads(done.stdout))
    table = Table(
        f"Review by rules, {len(rows)} PDF" + ("" if folder else " of 10 pages, made here")
    )
    pages = sum(row["pages"] for row in rows)
    table.add("pages", pages)
    table.add(
        "CPU seconds a page", sum(row["cpu"] for row in rows) / pages if pages else float("nan")
    )
    for name, note in (("cpu", "CPU seconds"), ("wall", "seconds"), ("mb", "MB of memory at most")):
        values = [row[name] for row in rows] or [float("nan")]
        table.add(f"{note}, median", float(np.median(values)), f"at most {max(values):.1f}")
    raised = sum(row["issues"] + row["loose"] for row in rows)
    table.add("issues with a checked anchor", wilson(sum(row["issues"] for row in rows), raised))
    return table


def _ten_pages(path: Path) -> Path:
    """A manuscript of ten pages of running text, with statistics and citations in it."""
    from reportlab.lib.pagesizes import A4
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(path), pagesize=A4)
    for page in range(1, 11):
        canvas.drawString(60, 800, f"{page} Section {page}")
        for line in range(52):
            n = 20 + (page * 52 + line) % 60
            canvas.drawString(
                60,
                780 - 14 * line,
                f"We find that condition {line} improves recall over {n} people, t({n - 2}) = 2.{line:02d},"
                f" p < .05 [{1 + line % 9}].",
            )
        canvas.showPage()
    canvas.drawString(60, 800, "References")
    for i in range(1, 10):
        canvas.drawString(
            60, 800 - 16 * i, f"[{i}] A. Author. A title of work {i}. Journal, 201{i}."
        )
    canvas.save()
    return path


def _enough(name: str, rows: Rows) -> bool:
    if rows.train and rows.test:
        return True
    print(f"{name}: {len(rows.train)} rows to train on and {len(rows.test)} to test; left out")
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path, help="a folder laid out like the shared data")
    parser.add_argument("--test", type=Path, help="another, whose rows are never trained on")
    parser.add_argument(
        "--manuscripts", type=Path, help="a folder of PDFs to time; else one is made"
    )
    parser.add_argument("--json", type=Path, help="write all figures into this file")
    parser.add_argument("--folds", type=int, default=4, help="of the cross-validation; 1: none")
    parser.add_argument("--write", action="store_true", help="write the table into README.md")
    told = parser.parse_args()
    for folder in (told.train, told.test, SHARED if None in (told.train, told.test) else None):
        if folder is not None and not folder.is_dir():
            raise SystemExit(f"{folder}: no such folder; it must be laid out like the shared data")
    try:
        tables = measure(told.train, told.test, told.folds)
    except SimulatorInputError as error:
        raise SystemExit(str(error)) from None
    tables.append(measure_manuscripts(told.manuscripts))
    text = "\n\n".join(table.as_markdown() for table in tables)
    print(text)
    if told.json:
        body = {table.title: table.as_dict() for table in tables}
        told.json.write_text(json.dumps(body, indent=2, ensure_ascii=False) + "\n", "utf-8")
    if told.write:
        write("peer-review", text)


if __name__ == "__main__":
    main()
