"""What a task may spend, and what its callees inherit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repertory.protocol import Budget, BudgetExceededError
from repertory.runtime.budget import Purse, Usage


def test_callees_inherit_what_is_left() -> None:
    """Ours: a budget is inherited down the call tree."""
    purse = Purse(Budget(tokens=100, calls=5), "planner")
    purse.charge(Usage(tokens_in=30, tokens_out=10, calls=2))
    assert purse.left() == Budget(tokens=60, calls=3, usd=None)


def test_a_spent_budget_refuses_the_next_effect_and_says_what_to_do() -> None:
    """Ours: the sentence names who spent, what, and the remedy."""
    purse = Purse(Budget(calls=1), "planner")
    purse.require("ask its model")
    purse.charge(Usage(calls=1))
    with pytest.raises(BudgetExceededError, match=r"planner may not ask .* 1 calls is spent"):
        purse.require("ask its model")


def test_no_limit_is_never_spent() -> None:
    """Ours: None means no limit."""
    purse = Purse(Budget(), "planner")
    purse.charge(Usage(10**9, 10**9, 10**9, 1e9))
    purse.require("go on")


@given(st.lists(st.integers(0, 50), max_size=20), st.integers(0, 200))
def test_what_is_left_is_never_negative_and_never_grows(spends: list[int], limit: int) -> None:
    """Ours: a callee cannot be given more than its caller had."""
    purse = Purse(Budget(tokens=limit), "planner")
    before = limit
    for spend in spends:
        purse.charge(Usage(tokens_in=spend))
        left = purse.left().tokens
        assert left is not None
        assert 0 <= left <= before
        before = left


@pytest.mark.parametrize("reported", [None, "free", {"calls": -3}, {"usd": "1"}, {"tokensIn": []}])
def test_a_callee_that_reports_nonsense_is_charged_nothing(reported: object) -> None:
    """Ours: what a peer says is data; it can neither crash nor refund."""
    assert Usage.from_json(reported) == Usage()


def test_a_usage_survives_the_wire() -> None:
    """Ours: what is written into a task's metadata is read back."""
    usage = Usage(1, 2, 3, 0.5)
    assert Usage.from_json(usage.to_json()) == usage
