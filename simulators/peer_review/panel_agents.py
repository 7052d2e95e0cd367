"""The agents of a panel: its desk, three reviewers, the authors' voice, and the area chair.

Each answers with data, so a reviewer can be replaced by an agent of one's own, with a
model behind it, that answers the same: `assess` gives assessments, `discuss` ratings.
"""

from collections.abc import Mapping
from typing import Any, get_args

from anyio import to_thread

from repertory.agents import Agent, TaskFailedError, Turn
from repertory.protocol import Message, Part, Role

from .exchange import Data, answer, answered
from .panel import (
    SEATS,
    Assessment,
    Case,
    Chair,
    Effect,
    Meeting,
    Trait,
    assess,
    discuss,
    effect_of,
    meeting_of,
    rebut,
)

_MOST_SEEDS = 500


class PanelReviewer(Agent):
    """Rate a case under a trait, and rate it again after rebuttal and discussion."""

    async def handle(self, turn: Turn) -> None:
        data = _given(turn)
        case, seeds = Case.model_validate(data["case"]), data["seeds"]
        trait = _trait(data["trait"])
        if data["phase"] == "assess":
            seat, noise = data["seat"], data["noise"]
            found = [assess(case, seat, trait, seed, noise) for seed in seeds]
            await answer(turn, {"assessments": [a.model_dump(mode="json") for a in found]})
            return
        own = [Assessment.model_validate(a) for a in data["own"]]
        ratings = [
            discuss(mine, others, replies, trait)
            for mine, others, replies in zip(own, data["others"], data["answered"], strict=True)
        ]
        await answer(turn, {"ratings": ratings})


class PanelAuthor(Agent):
    """Answer, as the authors might, what reviewers raised."""

    async def handle(self, turn: Turn) -> None:
        data = _given(turn)
        case = Case.model_validate(data["case"])
        rounds = [
            rebut(case, [Assessment.model_validate(a) for a in seen], seed)
            for seed, seen in zip(data["seeds"], data["assessments"], strict=True)
        ]
        await answer(turn, {"answered": rounds})


class PanelChair(Agent):
    """Weigh the reviewers against an own reading, and decide at the cut."""

    async def handle(self, turn: Turn) -> None:
        data = _given(turn)
        case, chair = Case.model_validate(data["case"]), _chair(data["chair"])
        meetings = [
            meeting_of(case, [Assessment.model_validate(a) for a in first], final, chair, seed)
            for seed, first, final in zip(
                data["seeds"], data["assessments"], data["final"], strict=True
            )
        ]
        await answer(turn, {"meetings": [m.model_dump(mode="json") for m in meetings]})


class PanelDesk(Agent):
    """Let three committees meet over every case, and tell what the changed trait did.

    Takes `{cases, seeds, changed, trait, chair}`: the baseline, the same with one change,
    and the baseline with other noise in the changed seat, which is the placebo.
    """

    async def handle(self, turn: Turn) -> None:
        data = _given(turn)
        cases = [Case.model_validate(each) for each in data["cases"]]
        changed, trait = str(data["changed"]), str(data["trait"])
        chair = _chair(data.get("chair", "inclusive"))
        count = data["seeds"]
        if not isinstance(count, int) or not 1 <= count <= _MOST_SEEDS:
            raise TaskFailedError(f"seeds: {count!r} is none of 1 to {_MOST_SEEDS}")
        runs = committees(changed, trait, chair)
        meetings: dict[str, list[Meeting]] = {name: [] for name in runs}
        for number, case in enumerate(cases, 1):
            await turn.report(f"panel {number} of {len(cases)}")
            for name, committee in runs.items():
                meetings[name] += await self._meet(
                    turn, case, list(range(count)), f"{number}-{name}", committee
                )
        effect = await to_thread.run_sync(
            effect_of,
            changed,
            trait,
            meetings["baseline"],
            meetings["treated"],
            meetings["renewed"],
        )
        told = {
            "effect": effect.model_dump(mode="json"),
            "meetings": {k: [m.model_dump(mode="json") for m in v] for k, v in meetings.items()},
        }
        await answer(turn, told)

    async def _meet(
        self, turn: Turn, case: Case, seeds: list[int], name: str, committee: "Committee"
    ) -> list[Meeting]:
        shared: Data = {"case": case.model_dump(mode="json"), "seeds": seeds}
        first: dict[str, list[Data]] = {}
        for seat in SEATS:
            asked = {
                **shared,
                "phase": "assess",
                "seat": seat,
                "trait": committee.traits.get(seat, "neutral"),
                "noise": committee.noise.get(seat, 0),
            }
            first[seat] = (await _ask(turn, seat, f"{name}-assess", asked))["assessments"]
        rows = [[first[seat][i] for seat in SEATS] for i in range(len(seeds))]
        replies = (await _ask(turn, "author", name, {**shared, "assessments": rows}))["answered"]
        final: dict[str, list[float]] = {}
        for seat in SEATS:
            others = [[a["rating"] for a in row if a["seat"] != seat] for row in rows]
            asked = {
                **shared,
                "phase": "discuss",
                "own": first[seat],
                "others": others,
                "answered": replies,
                "trait": committee.traits.get(seat, "neutral"),
            }
            final[seat] = (await _ask(turn, seat, f"{name}-discuss", asked))["ratings"]
        last = [[final[seat][i] for seat in SEATS] for i in range(len(seeds))]
        asked = {**shared, "assessments": rows, "final": last, "chair": committee.chair}
        told = await _ask(turn, "chair", name, asked)
        return [Meeting.model_validate(m) for m in told["meetings"]]


class Committee:
    """Who sits on a panel: traits and streams of noise by seat, and the kind of chair."""

    def __init__(
        self,
        chair: Chair,
        traits: Mapping[str, Trait] | None = None,
        noise: Mapping[str, int] | None = None,
    ) -> None:
        self.chair = chair
        self.traits = traits or {}
        self.noise = noise or {}


def committees(changed: str, trait: str, chair: Chair) -> dict[str, Committee]:
    """The baseline, the treated committee and the placebo's.

    Raises:
        TaskFailedError: No such trait, chair or seat.
    """
    if changed == "chair":
        treated = Committee(_chair(trait))
    elif changed in SEATS:
        treated = Committee(chair, {changed: _trait(trait)})
    else:
        raise TaskFailedError(f"no seat {changed!r}; known: {', '.join((*SEATS, 'chair'))}")
    seat = changed if changed in SEATS else SEATS[0]
    return {
        "baseline": Committee(chair),
        "treated": treated,
        "renewed": Committee(chair, noise={seat: 1}),
    }


def effect_from(data: Data) -> Effect:
    """The effect that a panel's desk told."""
    return Effect.model_validate(data["effect"])


def _trait(word: object) -> Trait:
    for kind in get_args(Trait):
        if word == kind:
            found: Trait = kind
            return found
    raise TaskFailedError(f"no trait {word!r}; known: {', '.join(get_args(Trait))}")


def _chair(word: object) -> Chair:
    for kind in get_args(Chair):
        if word == kind:
            found: Chair = kind
            return found
    raise TaskFailedError(f"no chair {word!r}; known: {', '.join(get_args(Chair))}")


def _given(turn: Turn) -> Data:
    for part in turn.message.parts:
        if part.has_data and isinstance(part.data, Mapping):
            return _Checked(part.data, turn.agent)
    raise TaskFailedError(f"{turn.agent} takes data, not words")


class _Checked(dict[str, Any]):
    """Data whose missing keys are told by their name."""

    def __init__(self, data: Mapping[str, Any], agent: str) -> None:
        super().__init__(data)
        self._agent = agent

    def __missing__(self, key: str) -> Any:
        raise TaskFailedError(f"{self._agent} was given no {key!r}")


async def _ask(turn: Turn, peer: str, name: str, data: Data) -> Data:
    message = Message(
        message_id=f"{turn.task_id}-{peer}-{name}", role=Role.USER, parts=(Part(data=data),)
    )
    return answered(await turn.ask(peer, message))[0]
