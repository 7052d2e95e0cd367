"""What a unit of work is given: one connection, whichever engine is behind it.

Units are written once, in the SQL that SQLite and PostgreSQL share, with `?` for
values (or `?1`, `?2` for one that is used twice). The little in which the two
differ is in `Dialect`. Rows are tuples of str, int, float, bytes and None on both,
so that what is read, and every digest of it, is the same.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from sqlmodel import SQLModel

Engine: TypeAlias = Literal["sqlite", "postgresql"]


class Dialect(Protocol):
    """The SQL in which the engines differ."""

    @property
    def engine(self) -> Engine:
        """Which engine it is."""
        ...

    def holds(self, column: str, mark: str = "?") -> str:
        """Whether a text column holds a text, letter by letter."""
        ...

    def joined(self, column: str) -> str:
        """All of a column's numbers as one text, with commas between them."""
        ...

    def unindexed(self, where: str) -> str:
        """The clause over `p`, for rows that are already named: no index is of use to it."""
        ...

    def json_text(self, column: str, name: str) -> str:
        """The text at a name of a column that holds a JSON object."""
        ...

    def has_table(self, connection: "Connection", name: str) -> bool:
        """Whether there is such a table."""
        ...


class Cursor(Protocol):
    """What a statement answered."""

    @property
    def rowcount(self) -> int: ...
    @property
    def description(self) -> Any: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """What a unit of work talks to; it must not keep it."""

    @property
    def dialect(self) -> Dialect: ...

    def execute(self, sql: str, values: Sequence[Any] = ..., /) -> Cursor:
        """Run one statement."""
        ...

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> Cursor:
        """Run one statement for each row of values."""
        ...

    def hold(self, name: str) -> None:
        """From here to the commit, let no other process do what this name stands for."""
        ...

    def try_hold(self, name: str) -> bool:
        """As `hold` where no other process holds it now; whether that is so."""
        ...

    def notify(self, channel: str, payload: str = "") -> None:
        """Wake, with the commit, whoever listens to `channel`; see `Database.listen`."""
        ...

    def later(self, check: Callable[[], None]) -> None:
        """Look at what statements answered, at once or when the batch's others are sent too.

        Before the commit in any case, and as a part of the unit: it may run more
        statements, and what it raises undoes the unit. So a server is waited for once
        a batch, and not once a unit.
        """
        ...


def prepared_insert(table: "type[SQLModel]") -> tuple[str, tuple[str, ...]]:
    """The INSERT of a table and its columns in order, without a number that the database gives."""
    held: Any = table.__table__  # type: ignore[attr-defined]  # SQLModel adds it
    given = held.autoincrement_column
    columns = tuple(column.name for column in held.columns if column is not given)
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {held.name} ({', '.join(columns)}) VALUES ({marks})", columns
