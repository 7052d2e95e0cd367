"""What the audience simulator's judges agree with, and what a decision costs.

    python benchmarks/audience.py [--train DIR] [--test DIR] [--json OUT] [--model] [--write]

DIR is laid out like UKPConvArg1. Debates of the test are never trained on. Without folders
each debate of the shared part is judged by a judge that was trained on all the others.
--model also asks the embedded language model (minutes). --write: into benchmarks/README.md.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

import anyio
import numpy as np
import numpy.typing as npt

# Run as a program, this file has only its own folder on the path.
sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.results import write
from repertory import load_manifest, open_network
from repertory.agents import EmbeddedModel, ScoreRequest
from repertory.simulators import SimulatorInputError
from repertory.simulators.audience import Corpus, embedded, load_corpus, train
from repertory.simulators.audience import agreement as agree
from repertory.simulators.audience.crossing import across_debates, judged
from repertory.simulators.audience.training import Vectors
from repertory.simulators.statistics import Estimate, bootstrap, wilson
from repertory.xp_store import MiniLM, missing_weights

Floats = npt.NDArray[np.float64]
ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("REPERTORY_DATA", ROOT.parent / "shared" / "data")) / "ukpconvarg1"
SCENARIOS = sorted((ROOT / "examples" / "audience" / "scenarios").glob("*.yaml"))
SEGMENTS = ("", "same", "opposite")
DEALS = 5
MODEL_TOPICS = 4
MODEL_PAIRS = 60
# Four good and bad arguments about none of the topics; fixed before anything was measured.
EXAMPLES = (
    (
        "School uniforms save money for families, because children no longer compete over brands,"
        " and a survey of teachers found fewer conflicts over clothes.",
        "convinced",
    ),
    ("uniforms suck lol nobody likes them", "unmoved"),
    ("no because it is stupid and you are stupid!!", "unmoved"),
    (
        "Public libraries give those who cannot pay a quiet place to learn, and for example job"
        " seekers use their computers every day. That helps the whole town.",
        "convinced",
    ),
)


async def measure(trained: Corpus | None, tested: Corpus, with_model: bool) -> dict[str, Any]:
    """All tables. `trained` is None when the debates of `tested` are judged crosswise."""
    told: dict[str, Any] = {"test": _about(tested), "train": trained and _about(trained)}
    vectors: dict[str, tuple[Vectors | None, Vectors | None]] = {"surface": (None, None)}
    if not missing_weights(("minilm-int8", "minilm-tokenizer")):
        embedder = MiniLM(threads=1)
        seen = await embedded(trained, embedder) if trained else None
        vectors["meaning"] = (seen, await embedded(tested, embedder))
    for name, (seen, asked) in vectors.items():
        began = process_time()
        scores = _scores(trained, seen, tested, asked)
        told[name] = agree.table(tested, scores[""])
        told[name]["segments"] = _segments(trained, seen, tested, asked, scores)
        told[name]["cpu_seconds"] = process_time() - began
    told["people"] = {
        "one vote against the majority of the others": _one_against_others(tested),
        "stance": agree.stance_gap(tested),
    }
    if with_model:
        told["embedded model"] = await _model(tested)
    told["scenarios"] = [await _scenario(path) for path in SCENARIOS]
    return told


def _scores(
    trained: Corpus | None, seen: Vectors | None, tested: Corpus, asked: Vectors | None
) -> dict[str, Floats]:
    if trained is None:
        return across_debates(tested, asked, segments=SEGMENTS)
    model = train(trained, seen, segments=SEGMENTS)
    return {segment: judged(model, tested, asked, segment) for segment in SEGMENTS}


def _segments(
    trained: Corpus | None,
    seen: Vectors | None,
    tested: Corpus,
    asked: Vectors | None,
    scores: Mapping[str, Floats],
) -> dict[str, Any]:
    """Simulated audiences for and against, beside audiences learned from sides dealt at random."""
    found = agree.by_topic(tested, scores["same"], scores["opposite"])
    rng = np.random.default_rng(0)
    nulls: list[dict[str, float]] = []
    for _ in range(DEALS):
        source = trained or tested
        stances = np.full(len(source.votes), "", dtype="<U8")
        same, opposite = agree.deal(source, rng, people=False)
        stances[same], stances[opposite] = "same", "opposite"
        dealt = Corpus(
            source.texts, source.topics, source.votes, source.voters, stances, source.strict
        )
        drawn = _scores(dealt if trained else None, seen, tested if trained else dealt, asked)
        nulls.append(agree.by_topic(tested, drawn["same"], drawn["opposite"]))
    random = {topic: float(np.mean([null[topic] for null in nulls])) for topic in found}
    own = {
        segment: agree.mean_of(
            agree.by_topic(
                tested, scores[segment], agree.win_rates(tested, tested.stances == segment)
            )
        )
        for segment in ("same", "opposite")
    }
    other = {
        segment: agree.mean_of(
            agree.by_topic(
                tested, scores[against], agree.win_rates(tested, tested.stances == segment)
            )
        )
        for segment, against in (("same", "opposite"), ("opposite", "same"))
    }
    gaps = [random[topic] - found[topic] for topic in found]
    return {
        "simulated sides": agree.mean_of(found),
        "sides dealt at random": agree.mean_of(random),
        "gap": bootstrap(_mean, gaps),
        "own side's win rates": own,
        "other side's judge on them": other,
    }


def _one_against_others(corpus: Corpus) -> Estimate:
    """How often a single vote, ties left out, is that of the majority of the other votes."""
    tally: dict[tuple[int, int], list[float]] = {}
    votes = corpus.votes
    for a, b, share in zip(votes.first, votes.second, votes.share, strict=True):
        tally.setdefault((int(a), int(b)), []).append(float(share))
    right, topics = [], []
    for (a, _), shares in tally.items():
        for share in shares:
            rest = sum(shares) - share - (len(shares) - 1) / 2
            if share != 0.5 and rest != 0:
                right.append(float((rest > 0) == (share == 1.0)))
                topics.append(corpus.topics[a])
    return bootstrap(_mean, right, groups=topics)


async def _model(corpus: Corpus) -> dict[str, Any]:
    """The embedded model as a judge: reactions to each text, and A or B in both orders."""
    part = corpus.only(
        list(np.unique(corpus.topics))[:: max(1, len(np.unique(corpus.topics)) // MODEL_TOPICS)][
            :MODEL_TOPICS
        ]
    )
    model = EmbeddedModel(threads=1, concurrency=1, reuse_prompts=True)
    began, tokens, margins = perf_counter(), 0, []
    try:
        for text in part.texts:
            request = ScoreRequest(
                text=text[:1500],
                labels=("convinced", "unmoved"),
                examples=EXAMPLES,
                text_name="Argument",
                label_name="Listener",
            )
            answer = await model.score(request)
            margins.append(answer.margin("convinced"))
            tokens += answer.tokens_in + answer.tokens_out
        seconds = perf_counter() - began
        choices = [
            [await _says_first(model, part, a, b), not await _says_first(model, part, b, a)]
            for a, b in _some_pairs(part)
        ]
    finally:
        await model.aclose()
    scores, near = np.array(margins), agree.about_equal(part)
    share = part.strict.share[: len(choices)]
    first = [there for there, _ in choices] + [not back for _, back in choices]
    agreed = [there == back for there, back in choices]
    right = [
        there == (s == 1.0)
        for (there, back), s in zip(choices, share, strict=True)
        if there == back
    ]
    return {
        "reactions": {
            "texts": len(scores),
            "pair accuracy": agree.accuracy(part, scores),
            "longer wins, same pairs": agree.accuracy(part, part.lengths),
            "gain over longer wins": agree.gain(part, scores, part.lengths),
            "pairs of about equal length": agree.accuracy(part, scores, near),
            "tokens a text": tokens / len(scores),
            "seconds a text": seconds / len(scores),
        },
        "A or B, zero-shot": {
            "pairs": len(choices),
            "position consistency": wilson(sum(agreed), len(agreed)),
            "first shown wins": wilson(sum(first), len(first)),
            "right, of the consistent": wilson(sum(right), len(right)),
        },
    }


def _some_pairs(corpus: Corpus) -> Iterator[tuple[int, int]]:
    pairs = zip(corpus.strict.first, corpus.strict.second, strict=True)
    for a, b in list(pairs)[:MODEL_PAIRS]:
        yield int(a), int(b)


async def _says_first(model: EmbeddedModel, corpus: Corpus, a: int, b: int) -> bool:
    shown = f"Argument A: {corpus.texts[a][:600]} Argument B: {corpus.texts[b][:600]}"
    request = ScoreRequest(
        text=f"Which argument is more convincing? {shown}",
        labels=("A", "B"),
        text_name="Question",
        label_name="More convincing",
    )
    scores = (await model.score(request)).scores
    return scores["A"] > scores["B"]


async def _scenario(path: Path) -> dict[str, Any]:
    """What one decision costs: comparisons, questions of a model, tokens, seconds."""
    from repertory.simulators import audience

    packaged = load_manifest(Path(audience.__file__).with_name("network.yaml"))
    text = await anyio.Path(path).read_text("utf-8")
    with TemporaryDirectory() as folder:
        async with open_network(packaged, store_url=f"sqlite:///{folder}/run.db") as network:
            began, cpu = perf_counter(), process_time()
            task = await network.ask("moderator", text)
            wall, cpu = perf_counter() - began, process_time() - cpu
    (found,) = (each for each in task.artifacts if each.artifact_id == "result")
    result = found.parts[0].data
    return {
        "scenario": path.stem,
        "candidates": len(result["candidates"]),
        "audiences": len(result["audiences"]),
        "comparisons": sum(each["pairs"] for each in result["audiences"]),
        "model questions": sum(each["questions"] for each in result["audiences"]),
        "tokens": _tokens(task),
        "seconds": wall,
        "cpu seconds": cpu,
        "verdict": result["verdict"],
        "tie set": len(result["tie_set"]),
        "length correlation": result["controls"]["length"]["value"],
    }


def _tokens(task: Any) -> int:
    usage = (task.metadata or {}).get("dev.repertory/usage") or {}
    return int(usage.get("tokensIn", 0)) + int(usage.get("tokensOut", 0))


def _about(corpus: Corpus) -> dict[str, Any]:
    return {
        "topics": sorted({str(topic) for topic in corpus.topics}),
        "texts": len(corpus.texts),
        "votes": len(corpus.votes),
        "strict pairs": len(corpus.strict),
    }


def _mean(values: Floats) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _plain(value: Any) -> Any:
    """A result for JSON, in which what cannot be told is null."""
    if isinstance(value, Estimate):
        return value.as_dict()
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def report(told: Mapping[str, Any]) -> str:
    """The tables in Markdown."""
    lines = [
        "| on debates that the judge never saw | surface features | and meaning | longer wins |",
        "|---|---|---|---|",
    ]
    kinds = [told[name] for name in ("surface", "meaning") if name in told]
    blank = [""] * (2 - len(kinds))

    def row(name: str, group: str, key: str, control: str) -> None:
        cells = [str(_short(kind[group][key])) for kind in kinds]
        last = _short(kinds[0][group][control]) if control else ""
        lines.append(f"| {' | '.join([name, *cells, *blank, str(last)])} |")

    pairs, near, rates = (
        "pair accuracy",
        "pairs of about equal length",
        "correlation with win rates",
    )
    row(f"pair accuracy, {kinds[0]['pairs']:,} pairs", pairs, "judge", "longer wins")
    row("gain over longer wins", pairs, "gain over longer wins", "")
    row(f"{kinds[0][near]['pairs']} pairs of about equal length", near, "judge", "longer wins")
    row("gain over longer wins there", near, "gain over longer wins", "")
    row("labels shuffled", pairs, "shuffled labels", "")
    row("correlation with win rates", rates, "judge", "longer wins")
    row(
        f"topics above .6, of {kinds[0]['topics']}",
        rates,
        "topics above .6, judge",
        "topics above .6, longer wins",
    )
    for kind, name in zip(kinds, ("surface", "meaning"), strict=False):
        found = kind["segments"]
        lines.append("")
        lines.append(
            f"Simulated sides ({name}) correlate {found['simulated sides']}, sides dealt at random"
            f" {found['sides dealt at random']}; gap {found['gap']}."
        )
    people = told["people"]
    stance, rates_ = people["stance"], kinds[0][rates]
    lines += [
        "",
        f"People: sides {stance['observed']}, votes dealt at random {stance['votes']} (gap"
        f" {stance['gap']}), people dealt at random {stance['people']} (gap"
        f" {stance['gap_people']}); one vote against the majority of the others"
        f" {people['one vote against the majority of the others']}; halves of the votes"
        f" {rates_['split-half of the votes']:.3f}; Bradley-Terry on the votes themselves, which"
        f" no judge can beat, {kinds[0][pairs]['Bradley-Terry on the votes (ceiling)']}.",
    ]
    if "embedded model" in told:
        lines += ["", _model_told(told["embedded model"])]
    lines += ["", *_scenario_lines(told["scenarios"])]
    return "\n".join(lines)


def _model_told(model: Mapping[str, Any]) -> str:
    reaction, choice = model["reactions"], model["A or B, zero-shot"]
    return (
        f"The embedded model (135M) by few-shot reactions, {reaction['texts']} texts: pair accuracy"
        f" {reaction['pair accuracy']}, longer wins {reaction['longer wins, same pairs']} on the"
        f" same pairs, {reaction['pairs of about equal length']} where lengths are equal;"
        f" {reaction['tokens a text']:.0f} tokens and {reaction['seconds a text']:.2f} s a text."
        f" Asked for A or B, {choice['pairs']} pairs in both orders: position consistency"
        f" {choice['position consistency']}, whoever is shown first wins"
        f" {choice['first shown wins']} of the answers."
    )


def _scenario_lines(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| scenario | candidates | audiences | comparisons | tokens | seconds | CPU s | verdict |"
        " score and length |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for each in rows:
        told = f"{each['verdict']} of {each['tie set']}" if each["tie set"] > 1 else each["verdict"]
        lines.append(
            f"| {each['scenario']} | {each['candidates']} | {each['audiences']} |"
            f" {each['comparisons']:,} | {each['tokens']:,} | {each['seconds']:.1f} |"
            f" {each['cpu seconds']:.1f} | {told} | {each['length correlation']:.2f} |"
        )
    return lines


def _short(value: Any) -> Any:
    return f"{value:.3f}" if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--train", type=Path, help="judgments to learn from")
    parser.add_argument("--test", type=Path, help="judgments to be held against")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--model", action="store_true", help="ask the embedded model as well")
    parser.add_argument("--write", action="store_true", help="write into benchmarks/README.md")
    options = parser.parse_args()
    try:
        tested = load_corpus(options.test or SHARED)
        trained = None
        if options.train or options.test:
            trained = load_corpus(options.train or SHARED)
            left = np.unique(trained.topics[~np.isin(trained.debates, np.unique(tested.debates))])
            same = Path(options.train or SHARED).resolve() == Path(options.test or SHARED).resolve()
            if not len(left) and not same:
                raise SimulatorInputError(
                    "every debate of --train is in --test; nothing is left to learn from"
                )
            trained = None if same else trained.only([str(topic) for topic in left])
    except SimulatorInputError as error:
        raise SystemExit(error.sentence) from None
    told = asyncio.run(measure(trained, tested, options.model))
    if options.json:
        options.json.write_text(json.dumps(_plain(told), indent=2) + "\n", "utf-8")
    print(report(told))
    if options.write:
        write("audience", report(told))


if __name__ == "__main__":
    main()
