"""Questions with known answers: generated tasks that have near relatives, and Python's own docstrings.

A generated task is an action on an object, each worded in four ways, with a name and
a number that say nothing about its kind. Half of the kinds of a grid are stored. A
`near` question is about a kind that is not: its action, its object and its names are
all in the store, in other combinations. A `far` one shares neither action nor object.
The two halves of the vocabulary share no action and no object, so what is tuned on
one can be held against the other; the docstrings are of another world altogether.
"""

import ast
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from sysconfig import get_paths
from typing import Literal, TypeAlias

Wordings = tuple[str, str, str, str]

# The first two wordings are stored, the last two are asked.
_ACTIONS: dict[str, tuple[Wordings, ...]] = {
    "tuned": (
        ("cancel {}", "call off {}", "stop {} before it goes ahead", "{} is no longer wanted"),
        ("refund {}", "pay back {}", "give the money for {} back", "reimburse {} in full"),
        ("renew {}", "extend {} by a year", "keep {} running longer", "prolong {}"),
        ("translate {}", "put {} into French", "render {} in another language", "a French {}"),
        ("find {} again", "trace {}", "say where {} has got to", "{} is lost, locate it"),
        ("approve {}", "sign off {}", "give the go-ahead for {}", "let {} pass"),
        ("archive {}", "put {} away for good", "move {} to cold storage", "shelve {}"),
        ("summarize {}", "shorten {} to a page", "give the gist of {}", "boil {} down"),
    ),
    "held out": (
        ("repair {}", "fix {}", "get {} working again", "{} is broken, mend it"),
        ("reschedule {}", "move {} to another day", "find a later date for {}", "postpone {}"),
        ("compare {}", "hold {} side by side", "say how {} differ", "weigh {} against each other"),
        ("delete {}", "erase {}", "remove every trace of {}", "get rid of {}"),
        ("price {}", "work out what {} costs", "make an offer for {}", "quote for {}"),
        ("escalate {}", "pass {} up to a manager", "bring {} to the boss", "raise {} higher"),
        ("forecast {}", "predict {}", "say how {} will develop", "estimate {} for next year"),
        ("verify {}", "check that {} is genuine", "make sure {} is right", "confirm {}"),
    ),
}
_OBJECTS: dict[str, tuple[Wordings, ...]] = {
    "tuned": (
        ("the order", "the purchase", "what was bought", "the goods ordered"),
        ("the subscription", "the monthly plan", "the recurring membership", "the standing plan"),
        ("the insurance claim", "the damage claim", "the loss report", "the policy claim"),
        ("the parcel", "the package", "the shipment", "the delivery"),
        ("the contract", "the agreement", "the signed deal", "the legal terms"),
        ("the travel request", "the business trip", "the journey", "the trip application"),
        ("the meeting notes", "the minutes", "the record of the talk", "the protocol"),
        ("the job application", "the candidate's papers", "the applicant's file", "the résumé"),
    ),
    "held out": (
        ("the printer", "the office copier", "the paper machine", "the print device"),
        ("the doctor's appointment", "the consultation", "the visit", "the clinic slot"),
        ("the supplier offers", "the vendors' bids", "the tenders", "the proposals"),
        ("the customer account", "the user profile", "the client's login", "the member record"),
        ("the kitchen renovation", "the new kitchen", "the cooking area", "the kitchen works"),
        ("the complaint", "the grievance", "the angry letter", "the bad feedback"),
        ("the energy use", "the power consumption", "the electricity demand", "the load"),
        ("the passport", "the identity papers", "the travel document", "the photo ID"),
    ),
}
_NAMES = (
    *("Acme", "Globex", "Initech", "Umbrella", "Hooli", "Vandelay", "Stark", "Wayne"),
    *("Ms Okafor", "Mr Lindgren", "Dr Sato", "Ms Novak", "Mr Haddad", "Ms Duarte"),
)


Sort: TypeAlias = Literal["same words", "paraphrase", "near", "far"]


@dataclass(frozen=True, slots=True)
class Question:
    """A question, its sort, and the keys of the stored texts that answer it; none: nothing does."""

    text: str
    sort: Sort
    answers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Corpus:
    """Stored texts by key, and questions about them."""

    texts: dict[str, str]
    questions: tuple[Question, ...]


def tasks(half: str, seed: int = 0, *, each: int = 3, asked: int = 4) -> Corpus:
    """The generated tasks of one half, `tuned` or `held out`.

    each: packs of every stored kind. asked: questions about every kind, stored or
    not, half of them in the stored wordings, and half of them with a name.
    """
    chance = random.Random(f"{half} {seed}")
    kinds = _kinds(half)
    # A checkerboard: whatever is not stored has stored relatives on both sides.
    flip = chance.randrange(2)
    stored = {kind for kind in kinds if (sum(kind) + flip) % 2}
    texts: dict[str, str] = {}
    answers: dict[tuple[int, int], set[str]] = {kind: set() for kind in kinds}
    for kind in sorted(stored):
        for _ in range(each):
            key = f"p{len(texts)}"
            number = chance.randrange(1000, 9999)
            texts[key] = (
                f"{_worded(half, kind, (0, 1), chance)} for {chance.choice(_NAMES)}, number {number}"
            )
            answers[kind].add(key)
    questions: list[Question] = []
    for kind in kinds:
        for number in range(asked):
            same = number % 2 == 0
            text = _worded(half, kind, (0, 1) if same else (2, 3), chance)
            if number % 4 < 2:
                text += f" for {chance.choice(_NAMES)}"
            known: Sort = "same words" if same else "paraphrase"
            sort: Sort = known if kind in stored else "near"
            questions.append(Question(text, sort, frozenset(answers[kind])))
    other = "held out" if half == "tuned" else "tuned"
    for kind in _kinds(other):
        text = _worded(other, kind, (0, 1, 2, 3), chance)
        name = f" for {chance.choice(_NAMES)}" if chance.random() < 0.5 else ""
        questions.append(Question(text + name, "far"))
    return Corpus(texts, tuple(questions))


def _kinds(half: str) -> list[tuple[int, int]]:
    return [(a, o) for a in range(len(_ACTIONS[half])) for o in range(len(_OBJECTS[half]))]


def _worded(half: str, kind: tuple[int, int], ways: tuple[int, ...], chance: random.Random) -> str:
    action = _ACTIONS[half][kind[0]][chance.choice(ways)]
    return action.format(_OBJECTS[half][kind[1]][chance.choice(ways)])


def docstrings(seed: int = 0, *, stored: int = 300, foreign: int = 300) -> Corpus:
    """Docstrings of the standard library: the first line asks, the rest is stored.

    foreign: so many first lines whose rest is not stored. Which functions there are
    depends a little on Python's version.
    """
    found = sorted(set(_documented()))
    random.Random(seed).shuffle(found)
    texts = {f"d{number}": rest for number, (_, rest) in enumerate(found[:stored])}
    known = [Question(found[n][0], "paraphrase", frozenset((f"d{n}",))) for n in range(len(texts))]
    # Functions of the same modules as those that are stored: near relatives by nature.
    strange = [Question(first, "near") for first, _ in found[stored : stored + foreign]]
    return Corpus(texts, (*known, *strange))


def _documented() -> Iterator[tuple[str, str]]:
    library = Path(get_paths()["stdlib"])
    for path in sorted(library.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8", errors="replace"))
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef | ast.ClassDef):
                continue
            first, _, rest = (ast.get_docstring(node) or "").partition("\n\n")
            rest = " ".join(rest.split())
            if 20 <= len(first) <= 200 and "\n" not in first and len(rest) >= 60:
                yield first, rest[:600]
