"""Wrong results made of a right one: what a check must refuse (EvoCUA's G4).

A subject is JSON; mutants differ from the reference in one place. Those of the panel
are answers that fool careless validators: nothing, a constant, another's answer, the
right one with doubt appended, two answers at once.
"""

import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

Path: TypeAlias = tuple[str | int, ...]
MAX_MUTANTS = 60
_DIGIT = re.compile(r"\d(?=\D*$)")
_TOKEN = re.compile(r"\S+")

Attack: TypeAlias = Callable[[str, str], str]
PANEL: dict[str, Attack] = {
    "nothing": lambda answer, other: "",
    "a constant": lambda answer, other: "banana",
    "another's answer": lambda answer, other: other,
    "doubt appended": lambda answer, other: f"{answer} or maybe not",
    "two answers": lambda answer, other: f"{answer} or {other or 'banana'}",
}
"""Five attacks on a validator of text, each made of the right answer and another task's."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A wrong result; `attack` names the panel's attack that made it, "" for plain mutants."""

    name: str
    subject: Any
    attack: str = ""


def mutants_of(
    reference: Any,
    *,
    about: Sequence[str] = (),
    other: Any = None,
    seed: int = 0,
    most: int = MAX_MUTANTS,
) -> list[Mutant]:
    """Wrong results of `reference`, at most `most` plain ones and all of the panel's.

    about: dotted paths of what the check speaks of, all of it when empty. other: the
    reference of another task, whose values stand for wrong ones of the right kind.
    """
    found: dict[str, Mutant] = {}
    for path, value in _places(reference, [_path(each) for each in about]):
        where = ".".join(map(str, path)) or "the whole"
        for name, changed, attack in _changes(value, _at(other, path)):
            if changed == value:
                continue
            subject = _with(reference, path, changed)
            key = json.dumps(subject, sort_keys=True)
            found.setdefault(key, Mutant(f"{name} in {where}", subject, attack))
    every = list(found.values())
    plain = [each for each in every if not each.attack]
    random.Random(seed).shuffle(plain)
    return plain[:most] + [each for each in every if each.attack]


def _places(value: Any, roots: Sequence[Path]) -> Iterator[tuple[Path, Any]]:
    for root in roots or [()]:
        yield from _below(root, _at(value, root))


def _below(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    yield path, value
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _below((*path, key), each)
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from _below((*path, place), each)


def _changes(value: Any, other: Any) -> Iterator[tuple[str, Any, str]]:
    """Every changed form of one value: (what was done, the value, the attack or "")."""
    if isinstance(value, bool):
        yield "flipped", not value, ""
    elif isinstance(value, (int, float)):
        yield "off by one", value + 1, ""
        yield "ten times", value * 10 if value else 10, ""
        yield "negated", -value if value else -1, ""
    elif isinstance(value, str):
        yield from _texts(value, other if isinstance(other, str) else "")
    elif isinstance(value, list):
        yield from _lists(value)
    elif isinstance(value, dict):
        yield from _objects(value)


def _texts(value: str, other: str) -> Iterator[tuple[str, str, str]]:
    digit = _DIGIT.search(value)
    if digit:
        at = digit.start()
        yield "off by one", f"{value[:at]}{(int(value[at]) + 1) % 10}{value[at + 1 :]}", ""
    if len(value) > 1:
        yield "cut short", value[:-1], ""
        yield "its beginning lost", value[1:], ""
    tokens = list(_TOKEN.finditer(value))
    if len(tokens) > 1 and tokens[0].group() != tokens[-1].group():
        first, last = tokens[0], tokens[-1]
        middle = value[first.end() : last.start()]
        swapped = f"{value[: first.start()]}{last.group()}{middle}{first.group()}"
        yield "ends exchanged", swapped + value[last.end() :], ""
    for name, attack in PANEL.items():
        made = attack(value, other)
        if made or name == "nothing":
            yield name, made, name


def _lists(value: list[Any]) -> Iterator[tuple[str, Any, str]]:
    if value:
        yield "a row lost", value[:-1], ""
        yield "a row twice", [*value, value[-1]], ""
        yield "emptied", [], ""
    if len(value) > 1 and value[0] != value[1]:
        yield "rows exchanged", [value[1], value[0], *value[2:]], ""


def _objects(value: dict[str, Any]) -> Iterator[tuple[str, Any, str]]:
    for key in value:
        yield f"{key} lost", {each: kept for each, kept in value.items() if each != key}, ""
    keys = list(value)
    for one, two in pairwise(keys):
        if type(value[one]) is type(value[two]) and value[one] != value[two]:
            yield f"{one} and {two} exchanged", {**value, one: value[two], two: value[one]}, ""


def _path(dotted: str) -> Path:
    return tuple(int(part) if part.isdecimal() else part for part in dotted.split("."))


def _at(value: Any, path: Path) -> Any:
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _with(value: Any, path: Path, changed: Any) -> Any:
    if not path:
        return changed
    head, rest = path[0], path[1:]
    if isinstance(value, dict):
        return {**value, head: _with(value[str(head)], rest, changed)}
    assert isinstance(head, int), "a path into a list is a number"
    return [*value[:head], _with(value[head], rest, changed), *value[head + 1 :]]
