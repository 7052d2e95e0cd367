"""Admission: the gates let through what refuses wrong results, and nothing else."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from repertory.xp_store import (
    PANEL,
    Checker,
    CheckSpec,
    Gates,
    HeldOut,
    Trial,
    check_gates,
    mutants_of,
    open_checker,
    run_gates,
)
from tests.claims import claim

RIGHT = {"invoice": {"net": "100.00", "tax": "19.00", "total": "119.00"}}
START: dict[str, Any] = {"invoice": {"net": "", "tax": "", "total": ""}}
TRIAL = Trial(START, RIGHT, other={"invoice": {"net": "7.00", "tax": "1.33", "total": "8.33"}})
SUMS = """
from decimal import Decimal
net, tax, total = (Decimal(subject["invoice"][name]) for name in ("net", "tax", "total"))
assert net + tax == total
assert set(subject["invoice"]) == {"net", "tax", "total"}
"""


@pytest.fixture
async def checker() -> AsyncIterator[Checker]:
    """A checker of the test's own."""
    async with open_checker() as opened:
        yield opened


@claim("evocua:gates")
async def test_a_check_that_refuses_every_wrong_result_is_admitted(checker: Checker) -> None:
    """Paper: EvoCUA, generation as validation: a validator is run before it is believed."""
    gates = await check_gates(CheckSpec("sums", "python", SUMS), [TRIAL], checker=checker)
    assert gates.passed, gates
    assert gates.mutants > 20
    assert 0.8 < (gates.mutation_score or 0) < 1.0, "100.0 is as right as 100.00"
    assert Gates.parse(gates.wire()) == gates


@pytest.mark.parametrize(
    ("code", "gate"),
    [
        ("assert True", "G1 it passes the untouched start"),
        ("assert subject['invoice']['net'] == 'nothing'", "G2 it fails the reference"),
        ("assert subject['invoice']['net'], 'no net'", "G4 it kills"),
        ("assert 'or' not in str(subject) and subject['invoice']['net']", "fooled by a constant"),
        ("assert subject['invoice']['net'].startswith('100.00')", "doubt appended, nothing"),
    ],
)
@claim("evocua:gates")
async def test_a_check_that_takes_wrong_for_right_is_refused_with_its_gate(
    checker: Checker, code: str, gate: str
) -> None:
    """Paper: EvoCUA's gates; the refusal says which."""
    gates = await check_gates(CheckSpec("weak", "python", code), [TRIAL], checker=checker)
    assert not gates.passed
    assert gate in str(gates)


async def test_a_check_that_cannot_make_up_its_mind_is_refused() -> None:
    """Paper: EvoCUA's G3; the third answer differs from the first two."""
    said = iter([False, False, False, True, True, None])

    async def judge(subject: Any) -> bool | None:
        return next(said)

    gates = await run_gates(judge, [TRIAL])
    assert str(gates).startswith("G3 it does not always say the same")


@pytest.mark.parametrize(
    "held_out",
    [
        HeldOut("text", text="close every ticket that has been open for more than ninety days"),
        HeldOut("code", code=SUMS.replace("net + tax", "b + t").replace("net, tax", "b, t")),
        HeldOut("reference", reference=RIGHT),
    ],
    ids=lambda each: each.name,
)
async def test_a_check_that_repeats_a_held_out_task_is_refused(
    checker: Checker, held_out: HeldOut
) -> None:
    """Paper: EvoCUA's triple decontamination: text, evaluator, configuration."""
    trial = Trial(
        START, RIGHT, text="Close every ticket that has been open for more than ninety days!"
    )
    gates = await check_gates(
        CheckSpec("sums", "python", SUMS), [trial], checker=checker, held_out=[held_out]
    )
    assert f"G5 it repeats the held-out task {held_out.name!r}" in str(gates)


def test_mutants_differ_from_the_reference_and_from_each_other() -> None:
    """Ours: a mutant that is the reference would make every check look careless."""
    made = mutants_of(RIGHT, other=TRIAL.other)
    subjects = [str(each.subject) for each in made]
    assert str(RIGHT) not in subjects
    assert len(set(subjects)) == len(subjects)
    assert {each.attack for each in made} == {"", *PANEL}
    rows = mutants_of({"rows": [{"a": 1}, {"a": 2}], "note": True}, about=["rows"])
    assert all(each.subject["note"] is True for each in rows)
    names = " ".join(each.name for each in rows)
    for change in ("a row lost", "a row twice", "rows exchanged", "off by one", "a lost"):
        assert change in names


# The ways in which validators of a well-kept public library were found to be fooled; the
# whole library is in benchmarks/gates.py.
FOOLED = {
    "any text is a truth value": ("bool(answer) == True", "True", "False"),
    "the numbers used are not those given": ("eval_(answer) == 24", "(1 + 3) * 6", "4 * 6"),
    "the answer need only occur": ("'42' in answer", "42", "17"),
}


@pytest.mark.parametrize(("rule", "right", "other"), FOOLED.values(), ids=list(FOOLED))
@claim("evocua:gates")
async def test_validators_of_the_kinds_that_were_found_fooled_are_refused(
    checker: Checker, rule: str, right: str, other: str
) -> None:
    """Paper: EvoCUA; each of these is the fault of a validator that is in use."""
    code = (
        "def eval_(text):\n"
        "    return 24 if text.strip() in ('(1 + 3) * 6', '4 * 6') else 0\n"
        f"def check(subject):\n    answer = subject['answer']\n    return {rule}\n"
    )
    trial = Trial({"answer": ""}, {"answer": right}, other={"answer": other})
    gates = await check_gates(CheckSpec("weak", "python", code), [trial], checker=checker)
    assert gates.fooled_by, gates
