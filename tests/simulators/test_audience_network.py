"""The whole network in one process: without a model, and with models that are functions."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from anyio import fail_after

from repertory.agents import ChatModel, FunctionModel, ScoreRequest, Tier
from repertory.protocol import Task, TaskState
from repertory.runtime import Network, open_network
from repertory.runtime.manifest import load_manifest, parse_manifest
from repertory.simulators import audience
from repertory.simulators.audience import read_scenario

PACKAGED = Path(audience.__file__).with_name("network.yaml")
WITHOUT_MEANING: dict[str, Any] = {"meaning": False}
SCENARIO = """
scenario: A later train
speaker: The railway
situation: The last train leaves half an hour earlier from now on, and many will be annoyed.
goal: Passengers accept the earlier train and write no complaints.
facts: [The last train leaves at 23:10, The drivers need their rest]
draft: The last train leaves at 23:10 from Monday. The drivers need their rest. We ask you to plan for it.
audiences:
  - {name: commuters, weight: 0.7, cares_about: getting home safely in the evening, segment: opposite}
  - {name: drivers, weight: 0.3, cares_about: rest after a long day, segment: same}
search: {standard: 2, unorthodox: 1, largest_set: 2, candidates_per_set: 2}
"""


@asynccontextmanager
async def network(
    folder: Path, model: ChatModel | None = None, **options: Mapping[str, Any]
) -> AsyncIterator[Network]:
    """The packaged network with hashed vectors, its store in `folder`."""
    text = PACKAGED.read_text("utf-8").replace("models:", "embedder: {engine: hash}\nmodels:", 1)
    manifest = parse_manifest(text, folder=folder)
    plain: dict[str, Mapping[str, Any]] = {
        name: WITHOUT_MEANING for name in manifest.agents if name not in ("moderator", "analyst")
    }
    manifest = manifest.with_options(
        {**plain, **{k.replace("_", "-"): v for k, v in options.items()}}
    )
    with fail_after(60):
        async with open_network(manifest, models={"small": model} if model else {}) as opened:
            yield opened


def silent() -> FunctionModel:
    """A model that may do nothing here."""

    def answer(request: Any) -> str:
        raise AssertionError(f"nobody should ask this model: {request}")

    return FunctionModel(answer, tiers=frozenset({Tier.SCORE, Tier.EXTRACT}))


def result(task: Task) -> dict[str, Any]:
    """The result of a run that completed."""
    assert task.status.state is TaskState.COMPLETED, said(task)
    (artifact,) = [each for each in task.artifacts if each.artifact_id == "result"]
    found: dict[str, Any] = artifact.parts[0].data
    return found


def said(task: Task) -> str:
    return task.status.message.text if task.status.message is not None else ""


def test_the_packaged_network_is_a_sound_manifest() -> None:
    """Ours: nobody can start what does not load."""
    manifest = load_manifest(PACKAGED)
    assert manifest.entry == "moderator"
    assert sum(name.startswith("audience") for name in manifest.agents) == 8


async def test_a_scenario_runs_without_a_model_and_says_who_wrote_what(tmp_path: Path) -> None:
    """Ours: nothing asks a model that may only score, and nothing pretends that one did."""
    async with network(tmp_path, silent()) as opened:
        told = result(await opened.ask("moderator", SCENARIO))
    assert told["verdict"] in ("winner", "tie set", "no signal")
    origins = [each["origin"] for each in told["candidates"]]
    assert origins.count("advice") == told["expected_candidates"] == 2 * (3 + 3)
    assert {"draft", "plain"} <= set(origins)
    assert told["missing"] == ["zero-shot", "chain-of-thought"]
    provenance = told["provenance"]
    assert (provenance["advice_by"], provenance["candidates_by"]) == ("library", "sentences")
    assert provenance["judges"] == ["deterministic judge (features)"]
    assert provenance["judge_data"]["licence"] == "CC BY 4.0"
    assert [each["name"] for each in told["audiences"]] == ["commuters", "drivers"]
    assert {"length", "position_consistency", "baseline_origin", "weights"} <= set(told["controls"])
    assert all(each["words"].keys() == {"commuters", "drivers"} for each in told["candidates"])


async def test_the_same_scenario_gives_the_same_result(tmp_path: Path) -> None:
    """Ours: the deterministic judge has no dice, and the bootstrap has a seed."""
    async with network(tmp_path, silent()) as opened:
        one = result(await opened.ask("moderator", SCENARIO))
        other = result(await opened.ask("moderator", SCENARIO))
    assert one == other


async def test_what_worked_is_recalled_for_a_similar_goal(tmp_path: Path) -> None:
    """Ours: the analyst's pack holds the advice that helped, with its effect, and the explorer finds it."""
    mine = """
advice:
  - text: Thank the passengers and explain the safety behind it.
    place: body
    sentences:
      - Because tired drivers make mistakes, an earlier train keeps everybody safe on the way home.
      - Research shows that rest prevents accidents, and therefore the earlier train is the safer one.
"""
    other = SCENARIO.replace("A later train", "A night bus").replace("train", "bus")
    async with network(tmp_path, silent()) as opened:
        first = result(await opened.ask("moderator", SCENARIO + mine))
        (own,) = [each for each in first["advice"] if each["source"] == "scenario"]
        assert own["measured"]["low"] > 0
        second = result(await opened.ask("moderator", other))
    recalled = [each for each in second["advice"] if each["source"] == "experience"]
    assert own["text"] in [each["text"] for each in recalled]
    assert recalled[0]["effect"] > 0


async def test_bad_scenarios_end_with_one_sentence(tmp_path: Path) -> None:
    """Ours: no audiences, wrong weights, an empty goal, no YAML, too many audiences: no crash."""
    many = "\n".join(f"  - {{name: a{i}, weight: 0.1}}" for i in range(10))
    body, _, _ = SCENARIO.partition("audiences:")
    cases = {
        body: "names no audiences",
        SCENARIO.replace("0.7", "0.5"): "sum to 0.8",
        SCENARIO.replace(
            "goal: Passengers accept", "goal: ''\nnote: Passengers accept"
        ): "'goal' is empty",
        "[1, 2": "expected",
        f"{body}audiences:\n{many}": "has 10 audiences and this network 8",
        SCENARIO.replace("candidates_per_set: 2", "candidates_per_set: 10")
        .replace("standard: 2", "standard: 7")
        .replace("largest_set: 2", "largest_set: 3"): "are 920 candidates",
        SCENARIO + "advice: [{text: Be kind.}]": "need 2 different sentences",
        SCENARIO + "candidates: [{name: a1/1, text: Hello.}]": "is a name that the simulator",
    }
    async with network(tmp_path, silent()) as opened:
        for text, sentence in cases.items():
            task = await opened.ask("moderator", text)
            assert task.status.state is TaskState.FAILED
            assert sentence in said(task)
            assert "Traceback" not in said(task)


def judging(choose: Any) -> FunctionModel:
    """A model of tier judge: lists and texts are made up, choices are `choose`'s."""

    def answer(request: Any) -> Any:
        schema = request.json_schema
        if schema is None:
            advice = [
                line for line in request.messages[-1].content.splitlines() if "remember" in line
            ]
            return f"We thank you for {len(advice)} things. " + " ".join(advice)[:200]
        properties = schema["properties"]
        if "choice" in properties or "rating" in properties:
            return choose(request.messages[-1].content, "choice" in properties)
        if "audiences" in properties:
            return {
                "audiences": [
                    {"name": "travelers", "description": "They travel.", "weight": 30},
                    {"name": "crew", "description": "They drive.", "weight": 10},
                ]
            }
        count = properties["advice"]["minItems"]
        word = "odd" if "unorthodox" in request.messages[-1].content else "plain"
        words = ["honesty pays", "brevity wins now", "ask for questions first"]
        return {"advice": [f"{word} {words[i % 3]} {i}" for i in range(count)]}

    return FunctionModel(answer, tiers=frozenset({Tier.JUDGE}))


async def test_a_model_that_judges_writes_everything_and_its_audiences_are_shown(
    tmp_path: Path,
) -> None:
    """Paper: EGS's whole pipeline, with audiences and weights from the model."""

    def longer(text: str, choice: bool) -> dict[str, Any]:
        a, b = re.findall(r"<message>(.*?)</message>", text, re.DOTALL)
        return {"why": "It says more.", "choice": "A" if len(a) > len(b) else "B"}

    body, _, rest = SCENARIO.partition("audiences:")
    text = body + rest[rest.index("search:") :]
    async with network(tmp_path, judging(longer)) as opened:
        told = result(await opened.ask("moderator", text))
    assert told["provenance"]["audiences_by"] == "model"
    assert [each["weight"] for each in told["scenario"]["audiences"]] == [0.75, 0.25]
    assert told["missing"] == []
    assert told["provenance"]["judges"] == ["model, pairs in both orders"]
    assert told["controls"]["position_consistency"] is not None
    origins = {each["origin"] for each in told["candidates"]}
    assert origins == {"advice", "draft", "zero-shot", "chain-of-thought"}
    asked, every = told["audiences"][0], len(told["candidates"])
    assert asked["pairs"] < every * (every - 1) / 2
    assert asked["questions"] == 2 * asked["pairs"]
    assert told["controls"]["sentences"][0].startswith("Length: the preference")


@pytest.mark.parametrize("primitive", ["pairs", "scale"])
async def test_a_model_that_always_answers_the_same_makes_no_winner(
    tmp_path: Path, primitive: str
) -> None:
    """Ours: A every time, or 4 every time: no signal, whatever else is true."""

    def same(text: str, choice: bool) -> dict[str, Any]:
        return {"why": "", "choice": "A"} if choice else {"why": "", "rating": 4}

    seats = {f"audience-{i}": {"primitive": primitive, "budget": "all"} for i in (1, 2)}
    async with network(tmp_path, judging(same), **seats) as opened:
        told = result(await opened.ask("moderator", SCENARIO))
    assert told["verdict"] == "no signal"
    assert told["winner"] is None


async def test_a_model_that_scores_reacts_to_each_text_once(tmp_path: Path) -> None:
    """Ours: few-shot reactions, the technique that was measured to work with a small model."""

    def reaction(request: Any) -> dict[str, float]:
        assert isinstance(request, ScoreRequest)
        assert request.examples
        liked = "rest" in request.text
        return {"positive": -0.1 if liked else -2.0, "negative": -2.0 if liked else -0.1}

    model = FunctionModel(reaction, tiers=frozenset({Tier.SCORE}))
    seats = {f"audience-{i}": {"judge": "reaction"} for i in (1, 2)}
    async with network(tmp_path, model, **seats) as opened:
        told = result(await opened.ask("moderator", SCENARIO))
    assert told["provenance"]["judges"] == ["model, few-shot reactions"]
    assert told["audiences"][0]["questions"] == len(told["candidates"])
    assert told["controls"]["position_consistency"] is None
    assert "rest" in told["candidates"][0]["text"]


async def test_an_unknown_option_is_told_at_the_start(tmp_path: Path) -> None:
    """Ours: a misspelled option must not be a default in silence."""
    with pytest.raises(Exception, match="no option 'jugde'"):
        async with network(tmp_path, silent(), audience_1={"jugde": "features"}) as opened:
            await opened.ask("moderator", SCENARIO)


def test_the_scenario_of_these_tests_is_sound() -> None:
    """Ours: a test of a broken input would prove little."""
    assert len(read_scenario(SCENARIO, "s").audiences) == 2
