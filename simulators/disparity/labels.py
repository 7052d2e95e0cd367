"""Who is known to be a human and who an agent: the labels that a team brings."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from repertory.simulators.errors import SimulatorInputError

from .events import EventTable, actor_named

HUMANS = frozenset({"human", "person", "clerk", "employee", "0", "false", "user"})
AGENTS = frozenset({"agent", "bot", "automaton", "automated", "machine", "system", "1", "true"})
_ACTORS = ("actor", "org:resource", "resource", "user", "agent", "name", "id", "account")
_KINDS = ("label", "kind", "type", "class", "is_bot", "bot", "automated")
_ROLES = ("role", "org:role", "group")


@dataclass(frozen=True)
class Labels:
    """What is known of actors: `kinds` says "human" or "agent", `roles` whose peers they are."""

    kinds: Mapping[str, str]
    roles: Mapping[str, str]

    @property
    def humans(self) -> frozenset[str]:
        return frozenset(name for name, kind in self.kinds.items() if kind == "human")

    @property
    def agents(self) -> frozenset[str]:
        return frozenset(name for name, kind in self.kinds.items() if kind == "agent")

    def notes(self, table: EventTable) -> list[str]:
        """What does not fit the log, a sentence each."""
        unknown = sorted(set(self.kinds) - set(table.actors))
        if not unknown:
            return []
        told = ", ".join(unknown[:5]) + (", …" if len(unknown) > 5 else "")
        return [f"{len(unknown)} labelled actors are not in the log and are left out: {told}"]


def load_labels(path: Path) -> Labels:
    """Labels from CSV: columns `actor`, `label` (human or agent) and, if known, `role`.

    A file of one column, or without a label, lists humans.

    Raises:
        SimulatorInputError: It is no such file, or a label is no known word.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = [row for row in csv.reader(stream) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SimulatorInputError(
            f"{path}: not readable as CSV ({error})", file=str(path)
        ) from None
    if not rows:
        raise SimulatorInputError(
            f"{path}: no label in it; a line is `actor,label`, with label human or agent",
            file=str(path),
        )
    header = [cell.strip().lower() for cell in rows[0]]
    actor, kind, role = (_column(header, names) for names in (_ACTORS, _KINDS, _ROLES))
    if actor is None:
        # No header that we know: the first column names actors, the second may say what they are.
        actor, kind, role = 0, 1 if len(header) > 1 else None, 2 if len(header) > 2 else None
    else:
        rows = rows[1:]
    kinds, roles = {}, {}
    for number, row in enumerate(rows, 1):
        name = actor_named(_cell(row, actor))
        if not name:
            continue
        kinds[name] = _kind(_cell(row, kind) if kind is not None else "human", path, number)
        if role is not None and _cell(row, role):
            roles[name] = _cell(row, role)
    return Labels(kinds, roles)


def is_label_file(path: Path) -> bool:
    """Whether a CSV file has a column of actors and one of labels, and no times."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            header = [cell.strip().lower() for cell in next(csv.reader(stream), [])]
    except (OSError, UnicodeDecodeError, csv.Error):
        return False
    has_time = any("time" in cell or cell in ("t", "date") for cell in header)
    named = _column(header, _ACTORS) is not None and _column(header, _KINDS) is not None
    return (named and not has_time) or path.name == "humans.csv"


def _column(header: list[str], names: tuple[str, ...]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _cell(row: list[str], column: int) -> str:
    return row[column].strip() if column < len(row) else ""


def _kind(word: str, path: Path, number: int) -> str:
    said = word.lower()
    if said in HUMANS:
        return "human"
    if said in AGENTS:
        return "agent"
    if said in ("", "unknown", "?"):
        return ""
    raise SimulatorInputError(
        f"{path}: row {number} has the label {word!r}; a label is human or agent, or empty where it"
        " is not known",
        file=str(path),
    )
