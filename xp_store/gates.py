"""The gates that a check passes before its verdicts count (EvoCUA's admission, section 2).

G1 it is not true on the untouched start, G2 true on the reference, G3 says the same
three times, G4 kills at least 0.8 of the mutants of the reference and every attack of
the panel (the second half is ours), G5 is no near duplicate of a held-out task: neither
its text (Jaccard's likeness of three-word shingles at least 0.8), nor the syntax tree of
its code without names, nor its reference.
"""

import ast
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from .checker import Checker
from .checks import CheckSpec
from .digests import cleaned, digest_of
from .mutants import MAX_MUTANTS, mutants_of

MIN_MUTATION_SCORE = 0.8
_RERUNS = 3
_NEAR = 0.8
_SHINGLE = 3

Judge: TypeAlias = Callable[[Any], Awaitable[bool | None]]
"""What a check says of a subject: True, False, or None when it could not decide."""


@dataclass(frozen=True, slots=True)
class Gates:
    """What the gates found of one check.

    mutation_score: the share of wrong results that it refuses; None when none could be
    made. fooled_by: the attacks that it takes for right. duplicate_of: the held-out
    task that it repeats. trials: the digest of what it was tried on.
    """

    start_false: bool = False
    reference_true: bool = False
    deterministic: bool = False
    mutation_score: float | None = None
    mutants: int = 0
    fooled_by: tuple[str, ...] = ()
    duplicate_of: str = ""
    trials: str = ""
    about: tuple[str, ...] = ()

    @property
    def failures(self) -> tuple[str, ...]:
        """Every gate that it did not pass, as a phrase."""
        score = self.mutation_score
        found = [
            ("G1 it passes the untouched start", not self.start_false),
            ("G2 it fails the reference", not self.reference_true),
            ("G3 it does not always say the same", not self.deterministic),
            ("G4 no wrong result could be made of the reference", score is None),
            (
                f"G4 it kills {score or 0.0:.0%} of {self.mutants} wrong results",
                score is not None and score < MIN_MUTATION_SCORE,
            ),
            (f"G4 it is fooled by {', '.join(self.fooled_by)}", bool(self.fooled_by)),
            (f"G5 it repeats the held-out task {self.duplicate_of!r}", bool(self.duplicate_of)),
        ]
        return tuple(phrase for phrase, failed in found if failed)

    @property
    def passed(self) -> bool:
        return not self.failures

    def __str__(self) -> str:
        told = "; ".join(self.failures)
        return told or f"passed all gates, {self.mutation_score:.0%} of {self.mutants} mutants"

    def wire(self) -> dict[str, Any]:
        """The gates as the JSON column holds them; `parse` reads them back."""
        return {
            "start_false": self.start_false,
            "reference_true": self.reference_true,
            "deterministic": self.deterministic,
            "mutation_score": self.mutation_score,
            "mutants": self.mutants,
            "fooled_by": list(self.fooled_by),
            "duplicate_of": self.duplicate_of,
            "trials": self.trials,
            "about": list(self.about),
        }

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> "Gates":
        """Read what `wire` wrote."""
        lists = {name: tuple(data[name]) for name in ("fooled_by", "about")}
        return cls(**{**data, **lists})


@dataclass(frozen=True, slots=True)
class Trial:
    """What a check is admitted on: a start that nobody touched, and a right result.

    about: dotted paths of what it speaks of, for mutants; all of it when empty.
    other: a right result of another task. text: the task in words, for G5.
    """

    start: Any
    reference: Any
    about: tuple[str, ...] = ()
    other: Any = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A task kept for tests, which no check that teaches may repeat."""

    name: str
    text: str = ""
    code: str = ""
    reference: Any = None


async def run_gates(
    judge: Judge,
    trials: Sequence[Trial],
    *,
    code: str = "",
    held_out: Sequence[HeldOut] = (),
    seed: int = 0,
    most: int = MAX_MUTANTS,
) -> Gates:
    """Put a check through the gates on every trial; a gate is passed when it is on all of them.

    judge: what the check says of a subject. code: of the check, for G5.
    """
    start_false = reference_true = deterministic = True
    killed = made = 0
    fooled: set[str] = set()
    for number, trial in enumerate(trials):
        starts = [await judge(trial.start) for _ in range(_RERUNS)]
        references = [await judge(trial.reference) for _ in range(_RERUNS)]
        start_false &= starts[0] is not True
        reference_true &= references[0] is True
        deterministic &= len(set(starts)) == 1 and len(set(references)) == 1
        if not (start_false and reference_true and deterministic):
            # What fails here is refused already, and mutants of it would tell nothing.
            break
        for mutant in mutants_of(
            trial.reference, about=trial.about, other=trial.other, seed=seed + number, most=most
        ):
            taken = await judge(mutant.subject) is True
            if mutant.attack:
                fooled |= {mutant.attack} if taken else set()
            made += 1
            killed += not taken
    return Gates(
        start_false=start_false,
        reference_true=reference_true,
        deterministic=deterministic,
        mutation_score=round(killed / made, 6) if made else None,
        mutants=made,
        fooled_by=tuple(sorted(fooled)),
        duplicate_of=_duplicate(code, trials, held_out),
        trials=digest_of_trials(trials),
        about=tuple(sorted({path for each in trials for path in each.about})),
    )


def digest_of_trials(trials: Sequence[Trial]) -> str:
    """The digest of what a check was tried on."""
    return digest_of(cleaned([[each.start, each.reference, each.other] for each in trials]))


async def check_gates(
    spec: CheckSpec,
    trials: Sequence[Trial],
    *,
    checker: Checker,
    held_out: Sequence[HeldOut] = (),
    seed: int = 0,
) -> Gates:
    """Put an executable check through the gates, in `checker`'s processes.

    Raises:
        CheckError: It cannot be run at all; a rubric never is.
    """

    async def judge(subject: Any) -> bool | None:
        return (await checker.run(spec, subject)).passed

    return await run_gates(judge, trials, code=spec.code, held_out=held_out, seed=seed)


def _duplicate(code: str, trials: Sequence[Trial], held_out: Sequence[HeldOut]) -> str:
    shape = _shape(code)
    texts = [_shingles(each.text) for each in trials]
    references = {digest_of(cleaned(each.reference)) for each in trials}
    for each in held_out:
        known = _shingles(each.text)
        if (
            (shape and shape == _shape(each.code))
            or any(_alike(known, text) >= _NEAR for text in texts)
            or (each.reference is not None and digest_of(cleaned(each.reference)) in references)
        ):
            return each.name
    return ""


def _shape(code: str) -> str:
    """The code's syntax tree without names and places; "" for what is no Python."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError):
        return ""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = "_"
        elif isinstance(node, ast.arg):
            node.arg = "_"
        elif isinstance(node, ast.FunctionDef):
            node.name = "_"
    return ast.dump(tree) if tree.body else ""


def _shingles(text: str) -> frozenset[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return frozenset(tuple(words[at : at + _SHINGLE]) for at in range(len(words) - _SHINGLE + 1))


def _alike(one: frozenset[Any], two: frozenset[Any]) -> float:
    """Jaccard's likeness of two sets of shingles."""
    union = len(one | two)
    return len(one & two) / union if union else 0.0
