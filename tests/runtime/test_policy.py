import ast
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repertory.runtime import (
    Action,
    Decision,
    ManifestError,
    Policy,
    PolicyError,
    Rule,
    parse_manifest,
)
from repertory.runtime.conditions import Condition
from repertory.runtime.policy import Verb
from tests.claims import claim

VERBS: st.SearchStrategy[Verb] = st.sampled_from(["allow", "ask", "deny"])
STRICTNESS = {"allow": 0, "ask": 1, "deny": 2}


def rule(decision: str, **facts: Any) -> Rule:
    """A rule as a manifest would give it."""
    return Rule.model_validate({"name": "r", "decision": decision, **facts})


def post(**arguments: Any) -> Action:
    """The bookkeeper posts an invoice."""
    return Action("tool", "bookkeeper", "ledger.post_invoice", arguments)


@pytest.mark.parametrize(
    ("condition", "arguments", "holds"),
    [
        ("amount > 10000", {"amount": 10000.01}, True),
        ("amount > 10000", {"amount": 10000}, False),
        ("amount > 10000", {"amount": "12000.00"}, True),
        ("amount > 10000", {"amount": "a lot"}, None),
        ("amount > 10000", {"amount": True}, None),
        ("amount > 10000", {"amount": float("nan")}, None),
        ("amount > 10000", {"amount": float("inf")}, True),
        ("amount > 10000", {}, None),
        ("0.1 + 0.2 == 0.3", {}, True),
        ("total == net * 1.2", {"total": "1.2", "net": 1}, True),
        ("amount / count > 5", {"amount": 10, "count": 0}, None),
        ("-amount > 5", {"amount": -6}, True),
        ("currency in ['EUR', 'USD']", {"currency": "EUR"}, True),
        ("currency not in ['EUR', 'USD']", {"currency": "GBP"}, True),
        ("currency not in ['EUR', 'USD']", {}, None),
        ("'urgent' in subject", {"subject": "very urgent"}, True),
        ("'iban' in changes", {"changes": {"iban": "X"}}, True),
        ("invoice.total >= 5", {"invoice": {"total": 5}}, True),
        ("invoice.total >= 5", {"invoice": {}}, None),
        ("lines[0].price < 2", {"lines": [{"price": 1}]}, True),
        ("lines[3].price < 2", {"lines": [{"price": 1}]}, None),
        ("lines[0]['unit price'] < 2", {"lines": [{"unit price": 1}]}, True),
        ("1 < amount < 3", {"amount": 2}, True),
        ("not approved", {"approved": False}, True),
        ("not approved", {"approved": "yes"}, None),
        ("vendor == null", {"vendor": None}, True),
        ("vendor == None", {"vendor": "x"}, False),
        ("a > 1 or b > 1", {"a": 2}, True),
        ("a > 1 and b > 1", {"a": 0}, False),
        ("a > 1 and b > 1", {"a": 2}, None),
        ("date >= '2026-01-01'", {"date": "2026-11-22"}, True),
        ("x == 1", {"x": True}, False),
        ("x == [1, 'a']", {"x": [1, "a"]}, True),
    ],
)
def test_a_condition_is_true_false_or_unknown(
    condition: str, arguments: dict[str, Any], holds: bool | None
) -> None:
    """Ours: Kleene's logic over the arguments, numbers as decimals."""
    assert Condition(condition).holds(arguments) is holds


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "amount >",
        "__import__('os').system('true')",
        "open('x')",
        "[x for x in y] == z",
        "lambda: 1",
        "(x := 1) == 1",
        "f'{x}' == 'y'",
        "amount ** 9 > 1",
        "amount is 3",
        "{'a': 1} == x",
        "x[0:2] == y",
        "x if y else z",
        "await x",
        "*x",
        "b'x' == y",
        "x[-1] == 1",
        "a" * 3000,
        " and ".join(["a > 1"] * 200),
        "(" * 500 + "a" + ")" * 500,
        "not " * 5000 + "a",
    ],
)
def test_what_is_not_in_the_language_is_refused_when_it_is_read(condition: str) -> None:
    """Ours: a condition is data; nothing of it is evaluated as Python."""
    with pytest.raises(PolicyError):
        Condition(condition)


NAMES = st.sampled_from(["a", "b", "c.d", "e[0]"])
VALUES = st.one_of(
    st.integers(-3, 3).map(str), st.sampled_from(["'x'", "'1'", "true", "null", "[1, 'x']"]), NAMES
)
COMPARISONS = st.tuples(
    VALUES, st.sampled_from(["<", "<=", ">", ">=", "==", "!=", "in", "not in"]), VALUES
).map(" ".join)
CONDITIONS = st.recursive(
    COMPARISONS,
    lambda inner: (
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda t: f"({' '.join(t)})")
        | inner.map(lambda text: f"not ({text})")
    ),
    max_leaves=6,
)
DATA = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.sampled_from(["x", "1", ""]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.just("d"), inner, max_size=1),
    max_leaves=4,
)
ARGUMENTS = st.dictionaries(st.sampled_from(["a", "b", "c", "e"]), DATA)


@given(CONDITIONS, ARGUMENTS)
def test_every_condition_of_the_language_has_an_answer(
    condition: str, arguments: dict[str, Any]
) -> None:
    """Ours: no argument, whatever it is, makes a condition raise."""
    assert Condition(condition).holds(arguments) in (True, False, None)


@given(CONDITIONS, CONDITIONS, ARGUMENTS)
def test_conditions_obey_the_laws_of_logic(
    left: str, right: str, arguments: dict[str, Any]
) -> None:
    """Ours: De Morgan and double negation, for unknown too."""

    def holds(text: str) -> bool | None:
        return Condition(text).holds(arguments)

    assert holds(f"not (({left}) and ({right}))") == holds(f"not ({left}) or not ({right})")
    assert holds(f"not (not ({left}))") == holds(left)


@given(st.decimals(-1000, 1000, places=2), st.decimals(-1000, 1000, places=2))
def test_amounts_compare_as_decimals_however_they_are_written(
    amount: Decimal, limit: Decimal
) -> None:
    """Ours: a model writes 12000.00, "12000.00" or 12000, and all are one amount."""
    condition = Condition(f"amount > {limit}")
    assert condition.holds({"amount": str(amount)}) is (amount > limit)
    assert condition.holds({"amount": float(amount)}) is (amount > limit)


@given(st.text(max_size=40))
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    """Ours: nothing but a PolicyError comes out of reading one."""
    try:
        ast.parse(text, mode="eval")
        Condition(text).holds({})
    except (PolicyError, SyntaxError, ValueError):
        return


async def test_the_first_rule_that_matches_decides() -> None:
    """Ours: the order of the manifest is the order of precedence."""
    policy = Policy(
        [
            rule("allow", name="small", tool="ledger.*", when="amount <= 100"),
            rule(
                "ask", name="big", tool="ledger.post_invoice", when="amount > 10000", reason="big"
            ),
            rule("deny", name="foreign", tool="ledger.*", when="currency != 'EUR'"),
        ]
    )
    assert await policy.decide(post(amount=50, currency="USD")) == Decision(
        "allow", "rule 'small'", "small"
    )
    assert await policy.decide(post(amount=20000, currency="USD")) == Decision("ask", "big", "big")
    assert (await policy.decide(post(amount=200, currency="USD"))).rule == "foreign"
    assert (await policy.decide(post(amount=200, currency="EUR"))) == Decision("allow")


@pytest.mark.parametrize(
    ("facts", "action", "meets"),
    [
        ({"tool": "ledger.*"}, post(), True),
        ({"tool": "ledger.post"}, post(), False),
        ({"agent": "book*"}, post(), True),
        ({"agent": "clerk"}, post(), False),
        ({"peer": "*"}, post(), False),
        ({"peer": "clerk"}, Action("message", "desk", "clerk"), True),
        ({"tool": "*"}, Action("message", "desk", "clerk"), False),
        ({"pack": "invoices"}, Action("pack", "desk", "invoices"), True),
        ({}, Action("pack", "desk", "invoices"), True),
        ({"labels": ["external"]}, post(), False),
        (
            {"labels": ["external"]},
            Action("tool", "a", "b.c", {}, frozenset({"external", "x"})),
            True,
        ),
        ({"labels": ["external"]}, Action("tool", "a", "b.c", tainted=True), True),
        ({"labels": ["external", "secret"]}, Action("tool", "a", "b.c", tainted=True), False),
    ],
)
def test_a_rule_meets_the_actions_it_names(
    facts: dict[str, Any], action: Action, meets: bool
) -> None:
    """Ours: by agent, target and labels; what is not named is not asked."""
    assert Policy([rule("deny", **facts)]).by_rules(action).allowed is not meets


@given(VERBS, CONDITIONS, ARGUMENTS)
def test_an_unknown_condition_never_lets_pass(
    verb: str, condition: str, arguments: dict[str, Any]
) -> None:
    """Ours: a missing argument makes ask and deny match, and allow not."""
    after = rule("deny", name="rest")
    decision = Policy([rule(verb, when=condition), after]).by_rules(post(**arguments))
    if Condition(condition).holds(arguments) is None:
        assert decision.verb == ("deny" if verb == "allow" else verb)


@given(VERBS, st.lists(VERBS, max_size=3))
async def test_validators_only_tighten(ruled: Verb, told: list[Verb]) -> None:
    """Ours: code of the user's own can make the policy stricter, never laxer."""
    decisions = [Decision(verb, "mine") for verb in told]
    validators = [lambda action, said=said: said for said in decisions]
    decision = await Policy([rule(ruled)], validators).decide(post())
    assert STRICTNESS[decision.verb] == max(STRICTNESS[verb] for verb in [ruled, *told])


async def test_a_validator_may_wait_and_is_named_in_its_decision() -> None:
    """Ours: a refusal says who refused."""

    async def no_weekends(action: Action) -> Decision | None:
        return Decision("deny", "it is Sunday")

    decision = await Policy([], [no_weekends]).decide(post())
    assert decision == Decision("deny", "it is Sunday", "no_weekends")


async def test_a_validator_that_fails_denies() -> None:
    """Ours: what cannot be judged does not happen."""

    def broken(action: Action) -> Decision:
        raise KeyError("amount")

    def strange(action: Action) -> Any:
        return True

    decision = await Policy([], [broken]).decide(post())
    assert decision == Decision("deny", "the validator 'broken' failed: 'amount'", "broken")
    assert (await Policy([], [strange]).decide(post())).verb == "deny"


@claim("goalfymax:safety")
async def test_nothing_in_the_arguments_changes_the_rules() -> None:
    """Ours: what came from outside is data; it cannot widen what an agent may do."""
    policy = Policy([rule("deny", when="amount > 10")])
    injected = {"amount": 11, "rules": [{"decision": "allow"}], "when": "true", "decision": "allow"}
    assert (await policy.decide(post(**injected))).verb == "deny"


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (
            '{name: r, decision: ask, when: "amount > f()"}',
            (
                "network.yaml:5: policy.rules[0].when: the condition 'amount > f()' uses a call; it may "
                "compare arguments with <, <=, >, >=, ==, !=, in, and join with and, or, not"
            ),
        ),
        (
            "{name: r, decision: aks}",
            (
                "network.yaml:5: policy.rules[0].decision cannot be 'aks'; it is one of 'allow', "
                "'deny', 'ask'; did you mean 'ask'?"
            ),
        ),
        (
            "{name: r, decision: ask, tool: a.b, peer: c}",
            (
                "network.yaml:5: policy.rules[0] may name one of 'tool', 'peer' and 'pack'; write a "
                "rule for each"
            ),
        ),
    ],
)
def test_a_rule_that_is_none_is_told_with_its_line(entry: str, sentence: str) -> None:
    """Ours: a condition is parsed when the manifest is read, not when money moves."""
    text = f"network: n\nagents: {{a: {{kind: human}}}}\npolicy:\n  rules:\n    - {entry}\n"
    with pytest.raises(ManifestError) as caught:
        parse_manifest(text)
    assert str(caught.value) == sentence
