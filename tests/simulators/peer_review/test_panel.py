from pathlib import Path

import pytest
from anyio import fail_after

from repertory.protocol import Message, Part, Role, Task, TaskState
from repertory.runtime import open_network
from repertory.runtime.manifest import parse_manifest
from repertory.simulators import peer_review
from repertory.simulators.peer_review.panel import (
    SEATS,
    Case,
    Chair,
    Effect,
    Meeting,
    Trait,
    assess,
    conclude,
    effect_of,
    meet,
)
from repertory.simulators.peer_review.panel_agents import effect_from
from tests.claims import claim

PANEL = Path(peer_review.__file__).with_name("panel.yaml")
SEEDS = range(40)


def made_case(i: int) -> Case:
    issues = [(f"i{k}", "major" if k % 3 == 0 else "minor") for k in range(4 + i % 5)]
    return Case(
        name=f"p{i}", digest=f"{i:064x}", S=0.4 + 0.06 * (i % 10), r_f=0.05, issues=tuple(issues)
    )


CASES = [made_case(i) for i in range(12)]


def run(traits: dict[str, Trait], chair: Chair = "inclusive", noise: int = 0) -> list[Meeting]:
    return [
        meet(case, traits, chair, seed, {"reviewer_1": noise}) for case in CASES for seed in SEEDS
    ]


def effect(trait: Trait) -> Effect:
    base = run({})
    return effect_of("reviewer_1", trait, base, run({"reviewer_1": trait}), run({}, noise=1))


def value(told: dict[str, float | int | None], key: str = "value") -> float:
    found = told[key]
    assert found is not None
    return float(found)


@claim("agentreview:placebo")
def test_a_trait_that_does_nothing_has_no_effect_at_all() -> None:
    """Ours: noise follows from manuscript, seed and seat, never from a trait."""
    found = effect("placebo")
    for told in (found.rating, found.spread, found.acceptance):
        assert (value(told), value(told, "low"), value(told, "high")) == (0.0, 0.0, 0.0)
    assert found.flipped == 0.0


@claim("agentreview:placebo")
def test_other_noise_in_a_seat_is_no_effect_either() -> None:
    """Ours: the placebo's interval holds zero, in three streams of noise."""
    base = run({})
    for stream in (1, 2, 3):
        told = effect_of("reviewer_1", "x", base, base, run({}, noise=stream)).placebo
        assert value(told, "low") <= 0.0 <= value(told, "high")
        assert value(told, "low") < value(told, "high")


@pytest.mark.parametrize(
    ("trait", "sign"), [("benign", 1), ("malicious", -1), ("irresponsible", 1), ("responsible", -1)]
)
@claim("agentreview:traits")
def test_a_trait_moves_the_chair_the_way_it_should(trait: Trait, sign: int) -> None:
    """Paper: AgentReview's traits; who sees fewer issues, or is kind, rates higher."""
    found = effect(trait).rating
    assert value(found, "low") * sign > 0
    assert value(found, "high") * sign > 0


def test_an_ignorant_reviewer_is_further_from_the_others_and_the_mean_stays() -> None:
    """Ours: no knowledge is noise, not kindness."""
    base, treated = (
        [assess(c, "reviewer_1", t, s).rating for c in CASES for s in SEEDS]
        for t in ("knowledgeable", "unknowledgeable")
    )
    neutral = [assess(c, "reviewer_2", "neutral", s).rating for c in CASES for s in SEEDS]
    gap = [sum(abs(a - b) for a, b in zip(rows, neutral, strict=True)) for rows in (base, treated)]
    assert gap[1] > 1.2 * gap[0]


@claim("agentreview:traits")
def test_an_authoritarian_chair_follows_itself_and_a_conformist_the_reviewers() -> None:
    """Paper: AgentReview's three kinds of area chair."""
    case, final = CASES[3], [9.0, 9.0, 9.0]
    own = conclude(case, [1.0], "authoritarian", 0), conclude(case, final, "authoritarian", 0)
    assert own[1] - own[0] == pytest.approx(0.2 * 8.0)
    assert conclude(case, final, "conformist", 0) == 9.0
    assert own[1] < conclude(case, final, "inclusive", 0) < 9.0


def test_a_meeting_is_the_same_tomorrow() -> None:
    """Ours: and another seed is another meeting."""
    assert meet(CASES[0], {}, "inclusive", 5) == meet(CASES[0], {}, "inclusive", 5)
    assert meet(CASES[0], {}, "inclusive", 5) != meet(CASES[0], {}, "inclusive", 6)


async def ask(folder: Path, data: dict[str, object]) -> Task:
    manifest = parse_manifest(PANEL.read_text("utf-8"), folder=folder)
    message = Message(message_id="m", role=Role.USER, parts=(Part(data=data),))
    with fail_after(60):
        async with open_network(manifest) as network:
            return await network.ask("desk", message)


async def test_the_agents_over_a2a_find_what_the_function_finds(tmp_path: Path) -> None:
    """Ours: a network of reviewers, authors and chair gives the same meetings."""
    cases = [case.model_dump(mode="json") for case in CASES[:2]]
    asked = {"cases": cases, "seeds": 6, "changed": "reviewer_2", "trait": "malicious"}
    task = await ask(tmp_path, asked)
    (data,) = [p.data for a in task.artifacts for p in a.parts if p.has_data]
    assert isinstance(data, dict)
    told = [Meeting.model_validate(m) for m in data["meetings"]["treated"]]
    assert told == [
        meet(case, {"reviewer_2": "malicious"}, "inclusive", seed)
        for case in CASES[:2]
        for seed in range(6)
    ]
    found = effect_from(data)
    assert (found.manuscripts, found.seeds) == (2, 6)
    assert value(found.rating) < 0


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"trait": "lazy"}, "no trait 'lazy'; known: responsible"),
        ({"changed": "reviewer_9"}, "no seat 'reviewer_9'; known: reviewer_1"),
        ({"chair": "kind"}, "no chair 'kind'; known: authoritarian"),
        ({"seeds": 0}, "seeds: 0 is none of 1 to 500"),
    ],
)
async def test_a_panel_that_cannot_be_is_refused_in_a_sentence(
    tmp_path: Path, data: dict[str, object], sentence: str
) -> None:
    """Ours: with what there is."""
    asked: dict[str, object] = {"cases": [], "seeds": 2, "changed": SEATS[0], "trait": "benign"}
    task = await ask(tmp_path, {**asked, **data})
    assert task.status.state is not TaskState.COMPLETED
    assert task.status.message is not None
    assert sentence in task.status.message.text
