"""Dynamic safety validation: what an agent may do, decided action by action.

Rules come from the manifest and validators are the user's own functions. The
first rule that matches an action decides it; without one, what the manifest
gives an agent it may use. Validators are asked after the rules and may only
tighten: allow to ask, ask to deny. What came from outside arrives as arguments
and labels, never as rules, so it cannot widen what an agent may do.

A rule whose condition is unknown, because an argument is missing or cannot be
compared, matches when it asks or denies and does not when it allows.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from inspect import isawaitable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from .conditions import Condition

Verb = Literal["allow", "deny", "ask"]

EXTERNAL = "external"
"""The label of what came from outside: a message, a tool's result, a recalled pack."""

_STRICTNESS: Mapping[Verb, int] = {"allow": 0, "ask": 1, "deny": 2}


@dataclass(frozen=True, slots=True)
class Action:
    """What an agent is about to do.

    target: `server.tool`, the peer's name, or the pack's family. labels: what
    is known of the data in `arguments`. tainted: whether anything from outside
    was read in this turn; it counts as the label `external`. chain: the agents
    that wait for this one, outermost first. task_id: the task it is done for.
    """

    kind: Literal["tool", "message", "pack"]
    agent: str
    target: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    labels: frozenset[str] = frozenset()
    tainted: bool = False
    chain: tuple[str, ...] = ()
    task_id: str = ""

    @property
    def all_labels(self) -> frozenset[str]:
        """The labels, with `external` when the turn is tainted."""
        return self.labels | {EXTERNAL} if self.tainted else self.labels


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policy says of an action, why, and by which rule ("" for the default)."""

    verb: Verb
    reason: str = ""
    rule: str = ""

    @property
    def allowed(self) -> bool:
        return self.verb == "allow"


Validator = Callable[[Action], Decision | Awaitable[Decision | None] | None]
"""A validator of the user's own: a stricter decision, or None to let the rules stand."""


class Rule(BaseModel):
    """A rule of the policy: whom and what it meets, when, and what it decides."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, description="Named in refusals, traces and questions.")
    decision: Verb = Field(description="'allow', 'deny', or 'ask' a person.")
    agent: str = Field(
        default="*", description="Agents it meets; '*' and '?' match as in file names."
    )
    tool: str | None = Field(default=None, description="Tool calls it meets, as 'server.tool'.")
    peer: str | None = Field(default=None, description="Messages it meets, by the peer asked.")
    pack: str | None = Field(
        default=None, description="Packs it meets when they are written, by family."
    )
    when: str | None = Field(
        default=None,
        description="A condition on the arguments: \"amount > 10000 and currency == 'EUR'\".",
    )
    labels: tuple[str, ...] = Field(
        default=(),
        description="Met only by data that carries all of these; 'external' is set by us.",
    )
    reason: str = Field(
        default="", description="Why, in words for the agent and for the person asked."
    )

    @field_validator("when")
    @classmethod
    def _is_a_condition(cls, text: str | None) -> str | None:
        if text is not None:
            Condition(text)
        return text

    @model_validator(mode="after")
    def _one_kind(self) -> "Rule":
        if sum(each is not None for each in (self.tool, self.peer, self.pack)) > 1:
            raise ValueError("may name one of 'tool', 'peer' and 'pack'; write a rule for each")
        return self


class PolicyRules(BaseModel):
    """The network's policy: rules in order, the first that matches decides."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: tuple[Rule, ...] = Field(default=(), description="The first that matches decides.")
    validators: tuple[Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")], ...] = (
        Field(
            default=(), description="Your own functions, 'module:callable'; they may only tighten."
        )
    )

    @field_validator("rules")
    @classmethod
    def _names_differ(cls, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        seen: set[str] = set()
        for rule in rules:
            if rule.name in seen:
                raise ValueError(f"has two rules named {rule.name!r}; a name tells one")
            seen.add(rule.name)
        return rules


class Policy:
    """Decides every outgoing action of a network's agents.

    `await policy.decide(action)` never raises for an action: a validator that
    fails denies, with its failure as the reason.
    """

    def __init__(self, rules: Sequence[Rule] = (), validators: Sequence[Validator] = ()) -> None:
        self._rules = [(rule, Condition(rule.when) if rule.when else None) for rule in rules]
        self._validators = tuple(validators)

    def also(self, validator: Validator) -> "Policy":
        """This policy with one more validator, asked last."""
        stricter = Policy((), (*self._validators, validator))
        stricter._rules = self._rules
        return stricter

    async def decide(self, action: Action) -> Decision:
        """What may become of `action`: the first matching rule, tightened by the validators."""
        decision = self.by_rules(action)
        for validator in self._validators:
            if decision.verb == "deny":
                break
            stricter = await _verdict(validator, action)
            if stricter and _STRICTNESS[stricter.verb] > _STRICTNESS[decision.verb]:
                decision = stricter
        return decision

    def by_rules(self, action: Action) -> Decision:
        """What the rules alone say of `action`."""
        for rule, condition in self._rules:
            if not _meets(rule, action):
                continue
            held = True if condition is None else condition.holds(action.arguments)
            if held is None and rule.decision != "allow":
                told = f"cannot tell whether {rule.when!r} holds; {rule.reason}".rstrip("; ")
                return Decision(rule.decision, told, rule.name)
            if held:
                return Decision(rule.decision, rule.reason or f"rule {rule.name!r}", rule.name)
        return Decision("allow")


def _meets(rule: Rule, action: Action) -> bool:
    patterns = {"tool": rule.tool, "message": rule.peer, "pack": rule.pack}
    pattern = patterns[action.kind]
    if pattern is None and any(each is not None for each in patterns.values()):
        return False
    return (
        fnmatchcase(action.agent, rule.agent)
        and (pattern is None or fnmatchcase(action.target, pattern))
        and action.all_labels.issuperset(rule.labels)
    )


async def _verdict(validator: Validator, action: Action) -> Decision | None:
    name = getattr(validator, "__name__", type(validator).__name__)
    try:
        given: object = validator(action)
        if isawaitable(given):
            given = await given
    except Exception as error:  # noqa: BLE001 - a user's validator that breaks must not let pass
        told = str(error) or type(error).__name__
        return Decision("deny", f"the validator {name!r} failed: {told}", name)
    if given is None:
        return None
    if not isinstance(given, Decision):
        told = f"it gave {type(given).__name__} where a Decision or None is due"
        return Decision("deny", f"the validator {name!r} failed: {told}", name)
    return given if given.rule else replace(given, rule=name)
