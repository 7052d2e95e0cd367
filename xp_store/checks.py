"""Executable checks: what they are and what they say. Running them is `checker`'s.

Four languages, each with one meaning of "passed":

- `python`: the code defines `check(subject)`, which returns a bool or (bool, detail);
  or it is plain statements about `subject`. An `AssertionError` fails the check.
- `jsonschema`: the code is a JSON Schema (draft 2020-12) that the subject must fit.
- `regex`: the code is a pattern that must be found in the subject (text, or its JSON).
- `sql`: the code is one SELECT whose first cell must be true. `:subject` is the
  subject as JSON; each of its keys that holds a list of objects is also a table.

A fifth, `rubric`, is a question to a model and is never run: its answer is an opinion,
which moves trust within a cap only (`trust`).

Whatever else happens (an exception, a limit) decides nothing: `passed` is None,
and only True and False move trust.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

from .digests import digest_of

Language: TypeAlias = Literal["python", "jsonschema", "regex", "sql", "rubric"]
LANGUAGES: tuple[Language, ...] = ("python", "jsonschema", "regex", "sql")
"""Those that are run; a rubric is put to a model, and its verdict is an opinion."""


@dataclass(frozen=True)
class CheckSpec:
    """A check: `code` in `lang`, known to people as `name` and to the store by its digest."""

    name: str
    lang: Language
    code: str

    @cached_property
    def digest(self) -> str:
        """The digest of name, language and code together."""
        return digest_of({"name": self.name, "lang": self.lang, "code": self.code})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check said: True, False, or None when it could not decide.

    digest: of the check that spoke. detail: one sentence, empty when all is well.
    subject: the digest of what it was asked about.
    """

    name: str
    passed: bool | None
    detail: str
    digest: str
    subject: str = ""

    def wire(self) -> dict[str, Any]:
        """The verdict as JSON, for a journal; `parse` reads it back."""
        return {
            "name": self.name,
            "passed": self.passed,
            "detail": self.detail,
            "digest": self.digest,
            "subject": self.subject,
        }

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> "Verdict":
        """Read what `wire` wrote."""
        return cls(
            data["name"], data["passed"], data["detail"], data["digest"], data.get("subject", "")
        )
