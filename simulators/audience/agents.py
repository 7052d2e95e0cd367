"""The five kinds of agents of the audience network. Read this first.

A moderator takes a scenario and asks the others in order: the explorer for advice, the
writer for candidates, one agent per audience for its comparisons, the analyst for what
follows. All of it travels as A2A messages with data parts; each agent's effects are
journaled in its turn, so a run that was killed goes on where it stopped.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Any, Literal

import anyio.to_thread
from anyio import create_task_group
from pydantic import TypeAdapter

from repertory.agents import (
    Agent,
    AgentSpec,
    TierError,
    Turn,
)
from repertory.protocol import Message, Part, user_message
from repertory.simulators import SimulatorInputError
from repertory.xp_store import CheckSpec

from .analysis import Heard, analyze
from .candidates import (
    Candidate,
    candidate_id,
    composed_candidates,
    expected_count,
    given_candidates,
    plain_candidate,
    subsets,
)
from .comparing import Pair
from .exchange import (
    Data,
    Options,
    answer_of,
    artifact,
    data_in,
    embedder,
    end,
    read_options,
    scenario_in,
    scenario_of,
)
from .exploring import FAMILY, choose, library, recalled, worked
from .facts import unknown_facts
from .scenario import Advice, Audience, Scenario
from .writing import (
    ask_advice,
    ask_audiences,
    ask_candidates,
    ask_chain_of_thought,
    ask_zero_shot,
)

_ADVICE = TypeAdapter(tuple[Advice, ...])
_CANDIDATES = TypeAdapter(tuple[Candidate, ...])
_HELPED = CheckSpec(
    "advice with an effect above zero",
    "jsonschema",
    '{"type": "object", "properties": {"worked": {"type": "array", "minItems": 1}}}',
)
_RECALLED = 6
# Pairs grow with the square: 150 candidates are 11,175 pairs for each audience.
_MOST = 150


class WritingOptions(Options):
    """How the explorer and the writer work.

    writes: `model` asks the agent's model, `library` uses packaged and given sentences,
    `auto` the model if it may generate. meaning: compare advice by meaning, which needs
    the embedder's files, or by shared words.
    """

    writes: Literal["auto", "model", "library"] = "auto"
    meaning: bool = True


class ModeratorOptions(Options):
    """out: the folder for the reports of a run; by default `audience-reports`."""

    out: str = ""


class Moderator(Agent):
    """Take a scenario from its file to a decision, asking the other agents in order."""

    def __init__(self, spec: AgentSpec) -> None:
        super().__init__(spec)
        read_options(ModeratorOptions, spec)

    async def handle(self, turn: Turn) -> None:
        scenario, file = scenario_of(turn.message)
        explored = answer_of(await turn.ask("explorer", {"scenario": scenario.wire()}))
        if not scenario.audiences:
            audiences = [Audience.model_validate(each) for each in explored["audiences"]]
            scenario = scenario.model_copy(update={"audiences": tuple(audiences)})
        seats = _seats(turn, scenario)
        given = {"scenario": scenario.wire(), "advice": explored["advice"]}
        written = answer_of(await turn.ask("writer", given))
        await turn.report(f"{len(written['candidates'])} candidates, {len(seats)} audiences")
        heard: list[Data] = [{} for _ in seats]
        async with create_task_group() as asking:
            for i, (seat, audience) in enumerate(zip(seats, scenario.audiences, strict=True)):
                asking.start_soon(_hear, turn, seat, scenario, audience, written, heard, i)
        about = {**given, "candidates": written["candidates"], "heard": heard}
        analysis = answer_of(await turn.ask("analyst", _about(turn, scenario, about)), "analysis")
        digest = sha256(turn.message.text.encode()).hexdigest()
        provenance = {
            "scenario_sha256": digest,
            "advice_by": explored["by"],
            "candidates_by": written["by"],
            "audiences_by": explored["audiences_by"],
            "judges": sorted({each["judge"] for each in heard}),
            "judge_data": next((each["about"] for each in heard if each["about"]), {}),
        }
        result = {
            "file": file,
            "scenario": scenario.wire(),
            **analysis,
            "diversity": explored["diversity"],
            "dropped_advice": explored["dropped"],
            "expected_candidates": written["expected"],
            "missing": written["missing"],
            "provenance": provenance,
        }
        await turn.add_artifact(artifact("result", result))
        await turn.complete(_last_words(analysis))


class Explorer(Agent):
    """Advice for the scenario: given, remembered from earlier runs, from a model or the library."""

    def __init__(self, spec: AgentSpec) -> None:
        super().__init__(spec)
        self._options = read_options(WritingOptions, spec)

    async def handle(self, turn: Turn) -> None:
        scenario = scenario_in(turn)
        hits = await turn.recall(_goal(scenario), family=FAMILY, limit=_RECALLED)
        remembered = recalled(hits)
        search = scenario.search
        by, audiences = "library", []
        fresh: Sequence[Advice] = ()
        if self._options.writes != "library":
            try:
                if not scenario.audiences:
                    audiences = await ask_audiences(turn, scenario)
                standard = await ask_advice(turn, scenario, "standard", max(1, search.standard))
                odd = await ask_advice(turn, scenario, "unorthodox", max(1, search.unorthodox))
                fresh, by = (*standard, *odd), "model"
            except TierError:
                if self._options.writes == "model":
                    raise
        if by == "library":
            fresh = await anyio.to_thread.run_sync(library)
            remembered = [each for each in remembered if each.sentences]
            if not scenario.audiences:
                raise SimulatorInputError(
                    f"scenario {scenario.name!r} names no audiences: name at least one with its"
                    " weight, or give the explorer a model of tier generate that may suggest them",
                    scenario=scenario.name,
                )
        pools = (scenario.advice, remembered, fresh)
        advice, dropped, spread = await choose(
            pools, search.standard, search.unorthodox, embedder(self._options.meaning)
        )
        if remembered:
            await turn.note(f"{len(remembered)} pieces of advice helped with goals like this one")
        await end(
            turn,
            {
                "advice": [each.model_dump(mode="json") for each in advice],
                "audiences": [each.model_dump(mode="json") for each in audiences],
                "audiences_by": "model" if audiences else "scenario",
                "dropped": dropped,
                "diversity": spread,
                "by": by,
            },
        )


class Writer(Agent):
    """Candidates for every set of the advice, the baselines, and what the scenario brings along."""

    def __init__(self, spec: AgentSpec) -> None:
        super().__init__(spec)
        self._options = read_options(WritingOptions, spec)

    async def handle(self, turn: Turn) -> None:
        scenario = scenario_in(turn)
        data = data_in(turn)
        advice = _ADVICE.validate_python(data["advice"])
        search, given = scenario.search, given_candidates(scenario)
        expected = expected_count(len(advice), search.largest_set, search.candidates_per_set)
        if expected + len(given) > _MOST:
            raise SimulatorInputError(
                f"search: {len(advice)} pieces of advice in sets of up to {search.largest_set}, with"
                f" {search.candidates_per_set} candidates each, are {expected} candidates; with those"
                f" given at most {_MOST} can be compared. Lower one of the three",
                scenario=scenario.name,
            )
        made: list[Candidate] | None = None
        if self._options.writes != "library":
            try:
                made = await _written(turn, scenario, advice)
            except TierError:
                if self._options.writes == "model":
                    raise
        by = "model" if made is not None else "sentences"
        missing: list[str] = []
        if made is None:
            made = composed_candidates(scenario, advice)
            plain = plain_candidate(scenario)
            made += [plain] if plain is not None else []
            have = {each.origin for each in given}
            missing = [name for name in ("zero-shot", "chain-of-thought") if name not in have]
        count = sum(each.origin == "advice" for each in made)
        assert count == expected, f"{count} candidates were made of {expected}"
        every = [
            each.model_copy(update={"flags": tuple(unknown_facts(each.text, scenario))})
            for each in _own_names([*given, *made])
        ]
        if len(every) < 2:
            raise SimulatorInputError(
                f"scenario {scenario.name!r} leaves fewer than two candidates to compare: give"
                " a draft, candidates or advice",
                scenario=scenario.name,
            )
        await end(
            turn,
            {
                "candidates": [each.model_dump(mode="json") for each in every],
                "expected": expected,
                "by": by,
                "missing": missing,
            },
        )


class Analyst(Agent):
    """Scores, intervals, advice effects and controls; and what worked, for the next time."""

    async def handle(self, turn: Turn) -> None:
        scenario, data = scenario_in(turn), data_in(turn)
        advice = _ADVICE.validate_python(data["advice"])
        candidates = _CANDIDATES.validate_python(data["candidates"])
        weights = {each.name: each.weight for each in scenario.audiences}
        heard = [_heard(each, weights[each["audience"]]) for each in data["heard"]]
        analysis = await anyio.to_thread.run_sync(
            partial(analyze, scenario, advice, candidates, heard)
        )
        await turn.add_artifact(artifact("analysis", analysis))
        lessons = {"worked": worked(advice, analysis["advice"]), "verdict": analysis["verdict"]}
        if advice:
            await turn.check(_HELPED, lessons)
        # The last artifact is what the pack keeps.
        await turn.add_artifact(artifact("lessons", lessons))
        await turn.complete()


# -- what the agents say to each other --------------------------------------------


async def _hear(
    turn: Turn,
    seat: str,
    scenario: Scenario,
    audience: Audience,
    written: Data,
    heard: list[Data],
    place: int,
) -> None:
    texts = [each["text"] for each in written["candidates"]]
    asked = {
        "scenario": scenario.wire(),
        "audience": audience.model_dump(mode="json"),
        "texts": texts,
    }
    heard[place] = answer_of(await turn.ask(seat, asked))


def _seats(turn: Turn, scenario: Scenario) -> list[str]:
    """An agent for each audience, in the manifest's order."""
    seats = [name for name in turn.peers if name.startswith("audience")]
    wanted = len(scenario.audiences)
    if len(seats) < wanted:
        raise SimulatorInputError(
            f"scenario {scenario.name!r} has {wanted} audiences and this network {len(seats)}"
            " agents to play them; add agents whose names begin with 'audience' to the manifest"
            " and to the moderator's peers",
            scenario=scenario.name,
        )
    return seats[:wanted]


async def _written(turn: Turn, scenario: Scenario, advice: Sequence[Advice]) -> list[Candidate]:
    """What the model writes: both baselines, and candidates for every set of the advice."""
    made = []
    baselines = scenario.baselines
    if not baselines.zero_shot.strip():
        text = await ask_zero_shot(turn, scenario)
        made.append(Candidate(id="zero_shot", text=text, origin="zero-shot", writer="model"))
    if not baselines.chain_of_thought.strip():
        text = await ask_chain_of_thought(turn, scenario)
        made.append(
            Candidate(id="chain_of_thought", text=text, origin="chain-of-thought", writer="model")
        )
    wanted = scenario.search.candidates_per_set
    for subset in subsets(len(advice), scenario.search.largest_set):
        texts = await ask_candidates(turn, scenario, [advice[i] for i in subset], wanted)
        for variant, text in enumerate(texts):
            name = candidate_id(subset, variant)
            made.append(
                Candidate(id=name, text=text, origin="advice", writer="model", advice=subset)
            )
    return made


def _own_names(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates, refused where a given one has the name of a made one."""
    names = [each.id for each in candidates]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise SimulatorInputError(
            f"candidates: {double!r} is a name that the simulator gives itself; take another",
            candidate=double,
        )
    return list(candidates)


def _heard(data: Mapping[str, Any], weight: float) -> Heard:
    return Heard(
        audience=data["audience"],
        weight=weight,
        pairs=tuple(Pair.parse(each) for each in data["pairs"]),
        judge=data["judge"],
        words={int(i): words for i, words in data["words"].items()},
        ratings=tuple(data["ratings"]),
        questions=data["questions"],
    )


def _about(turn: Turn, scenario: Scenario, data: Data) -> Message:
    """The analyst's message: the goal in words, which its pack is found by, and the data."""
    # The same id in a replay, so that the analyst's answer is found again.
    message = user_message(data, message_id=f"{turn.task_id}-analyst")
    return message.model_copy(update={"parts": (Part(text=_goal(scenario)), *message.parts)})


def _goal(scenario: Scenario) -> str:
    return f"{scenario.goal}\n{scenario.situation}"


def _last_words(analysis: Mapping[str, Any]) -> str:
    if analysis["verdict"] == "winner":
        return f"winner: {analysis['winner']}"
    if analysis["verdict"] == "tie set":
        shown = ", ".join(analysis["shortlist"])
        return f"tie set of {len(analysis['tie_set'])}: {shown} first; {analysis['why']}"
    return f"no signal: {analysis['why']}"
