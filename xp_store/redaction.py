"""Redaction: secrets and personal data are found by rules and hashed or dropped before storage.

A hash is keyed by the store's key: the same person has the same hash in every pack, so
packs about one can be found and forgotten, and nobody without the key can go back.
What rules find is what they are written for; a name in free text needs a rule of its
own. Keys of JSON objects and numbers are left alone.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeAlias

from .drafts import PackDraft, StepDraft
from .errors import DraftInvalidError

Treatment: TypeAlias = Literal["hash", "drop", "keep"]

PATTERNS: Mapping[str, str] = {
    "secret": (
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)"
        r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
        r"|\bgh[pousr]_[A-Za-z0-9]{30,}"
        r"|\bsk-[A-Za-z0-9_-]{20,}"
        r"|\bxox[abprs]-[A-Za-z0-9-]{10,}"
        r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+"
        r"|(?i:(?<=bearer )[A-Za-z0-9._~+/=-]{12,})"
        r"|(?i:(?<=password=)\S{4,}|(?<=password: )\S{4,}|(?<=passwd=)\S{4,}"
        r"|(?<=api_key=)\S{8,}|(?<=apikey=)\S{8,}|(?<=api-key: )\S{8,}|(?<=token=)\S{8,}"
        r"|(?<=secret=)\S{6,})"
    ),
    "email": r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+",
    "iban": r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b",
    "card": r"(?<![\w.])\d(?:[ -]?\d){12,18}(?![\w])",
    "phone": r"(?<![\w+])(?:\+|00)\d(?:[ ()/.-]{0,2}\d){7,13}(?!\w)",
    "ip": r"(?<![\w.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w.]*\d)",
}
"""What is known by name, in the order in which it is looked for."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What to find (a name of `PATTERNS`, or a pattern of one's own under `name`) and do.

    subject: whether what is found is a person, by whom packs can be found and forgotten.
    """

    find: str
    do: Treatment = "hash"
    name: str = ""
    subject: bool = True


DEFAULT_RULES = (Rule("secret", "drop", subject=False), Rule("card", "hash"))
"""Without a word in the manifest: nobody wants these kept."""


class Redactor:
    """Apply rules to whatever is about to be stored; `pseudonym` hashes with the store's key.

    Raises:
        DraftInvalidError: A rule's pattern is no regular expression.
    """

    def __init__(self, rules: Sequence[Rule], pseudonym: Callable[[str], str]) -> None:
        self._pseudonym = pseudonym
        self._rules: list[tuple[Rule, re.Pattern[str], str]] = []
        order = list(PATTERNS)
        known = sorted((r for r in rules if r.find in PATTERNS), key=lambda r: order.index(r.find))
        own = [rule for rule in rules if rule.find not in PATTERNS]
        for rule in (*own, *known):
            try:
                pattern = re.compile(PATTERNS.get(rule.find, rule.find))
            except re.error as error:
                raise DraftInvalidError(
                    f"the rule {rule.find!r} finds nothing: {error}; known by name:"
                    f" {', '.join(PATTERNS)}",
                    rule=rule.find,
                ) from None
            if rule.do != "keep":
                self._rules.append((rule, pattern, rule.name or rule.find))

    def apply(self, draft: PackDraft) -> PackDraft:
        """`draft` with everything that the rules find put in other words, and its subjects known."""
        if not self._rules:
            return draft
        found: set[str] = set()
        text = partial(self._text, found=found)
        value = partial(self._value, found=found)
        steps = tuple(self._step(step, found) for step in draft.steps)
        changed = replace(
            draft,
            goal=text(draft.goal),
            situation=text(draft.situation),
            why=tuple(replace(claim, text=text(claim.text)) for claim in draft.why),
            how=value(draft.how),
            steps=steps,
            verdicts=tuple(replace(each, detail=text(each.detail)) for each in draft.verdicts),
            reason=text(draft.reason),
            origin=replace(draft.origin, model_params=value(draft.origin.model_params)),
        )
        if not found:
            return changed
        subjects = tuple(sorted({*draft.rights.subjects, *found}))
        return replace(changed, rights=replace(changed.rights, subjects=subjects))

    def _step(self, step: StepDraft, found: set[str]) -> StepDraft:
        return replace(
            step,
            action=self._value(step.action, found),
            observation=self._text(step.observation, found),
            state=self._text(step.state, found),
            alternatives=tuple(self._value(each, found) for each in step.alternatives),
        )

    def _value(self, value: Any, found: set[str]) -> Any:
        if isinstance(value, str):
            return self._text(value, found)
        if isinstance(value, Mapping):
            return {key: self._value(each, found) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._value(each, found) for each in value]
        return value

    def _text(self, text: str, found: set[str]) -> str:
        for rule, pattern, name in self._rules:
            text = pattern.sub(partial(self._replaced, rule, name, found), text)
        return text

    def _replaced(self, rule: Rule, name: str, found: set[str], match: re.Match[str]) -> str:
        held = match.group()
        if not _sound(rule.find, held):
            return held
        if rule.do == "drop":
            return f"[{name}]"
        hashed = self._pseudonym(held)
        if rule.subject:
            found.add(hashed)
        return f"[{name} {hashed}]"


def _sound(kind: str, text: str) -> bool:
    """Whether the checksum holds of what has one: an IBAN's modulo 97, a card's Luhn digit."""
    plain = re.sub(r"[^A-Z0-9]", "", text)
    if kind == "iban":
        turned = plain[4:] + plain[:4]
        return int("".join(str(int(each, 36)) for each in turned)) % 97 == 1
    if kind == "card":
        digits = [int(each) for each in reversed(plain)]
        doubled = [sum(divmod(2 * each, 10)) for each in digits[1::2]]
        return (sum(digits[::2]) + sum(doubled)) % 10 == 0
    return True
