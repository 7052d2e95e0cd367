"""Capabilities narrow from caller to callee, and identities come from the transport alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repertory.protocol import (
    EVERYTHING,
    Call,
    Capabilities,
    Identity,
    InvalidParamsError,
    PermissionDeniedError,
    call_from_meta,
    call_meta,
)

NAMES = ("clerk", "clerk/reading", "clerk/posting", "books.post", "books.read", "critic")
PATTERNS = st.sampled_from((*NAMES, "*", "books.*", "clerk/*", "c*", "nothing"))
SETS = st.lists(st.lists(PATTERNS, max_size=4), max_size=4)


def _of(sets: list[list[str]]) -> Capabilities:
    capabilities = EVERYTHING
    for names in sets:
        capabilities = capabilities.narrowed(names)
    return capabilities


def test_without_a_set_everything_is_permitted_and_an_empty_set_permits_nothing() -> None:
    """Ours: no restriction and no permission are two things."""
    assert all(EVERYTHING.permits(name) for name in NAMES)
    assert not any(EVERYTHING.narrowed(()).permits(name) for name in NAMES)


def test_an_agent_stands_for_its_skills_and_a_skill_not_for_its_agent() -> None:
    """Ours: capabilities are named per skill and tool."""
    assert EVERYTHING.narrowed(["clerk"]).permits("clerk/reading")
    reading = EVERYTHING.narrowed(["clerk/reading", "books.*"])
    assert [name for name in NAMES if reading.permits(name)] == [
        "clerk/reading",
        "books.post",
        "books.read",
    ]


@given(first=SETS, second=SETS)
def test_what_two_permit_together_is_what_each_permits(
    first: list[list[str]], second: list[list[str]]
) -> None:
    """Ours: the effective capabilities of a chain are the intersection along it (S4)."""
    one, two = _of(first), _of(second)
    both = one.within(two)
    for name in NAMES:
        assert both.permits(name) == (one.permits(name) and two.permits(name))
    assert Capabilities.parse(both.wire()) == both


@given(own=SETS, claimed=SETS)
def test_what_a_caller_says_of_itself_never_widens_what_was_proven(
    own: list[list[str]], claimed: list[list[str]]
) -> None:
    """Ours: `_meta` travels as the caller's own words."""
    meta = call_meta(Call(capabilities=_of(claimed)))
    call = call_from_meta(meta, Identity("key:a", "desk", _of(own)))
    for name in NAMES:
        assert call.capabilities.permits(name) <= _of(own).permits(name)


def test_a_refusal_says_who_may_not_use_what() -> None:
    """Ours: the sentence names the caller, the capability and the chain."""
    with pytest.raises(PermissionDeniedError, match=r"key:a may not use 'books\.post'") as refusal:
        EVERYTHING.narrowed(["clerk"]).require("books.post", principal="key:a", chain=("desk/a",))
    assert refusal.value.capability == "books.post"


@pytest.mark.parametrize("value", [None, "a", ["a"], [["a b"]], [["../x"]], [["x" * 300]], [[7]]])
def test_capabilities_of_the_wrong_shape_are_refused(value: object) -> None:
    """Ours: what limits a call is not guessed at."""
    with pytest.raises(InvalidParamsError, match="capabilities"):
        Capabilities.parse(value)
