"""Which revision of its tables a store has, and how it comes to the newest.

Each room that keeps tables has their revisions in a folder, the first version's on, and
Alembic runs those that a store lacks. Which one it has stands in a table of one row, so
opening a store that is up to date reads that row and loads nothing. A revision's
number has four digits and only grows, so that a store that is newer than the code is known
without knowing its revision.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .connection import Connection
from .crash_points import crash_point
from .errors import StoreVersionError
from .revisions import HEAD

if TYPE_CHECKING:
    import sqlalchemy

UNVERSIONED: Final = "0000"
"""The revision of a store from before revisions were kept: the first, perhaps with more."""
_FIRST: Final = "0001"


@dataclass(frozen=True, slots=True)
class Schema:
    """A room's tables and their revisions.

    name: in sentences. folder: the revisions. head: the newest. table: where a store
    keeps which one it has. oldest: a table that every store of these has.
    """

    name: str
    folder: Path
    head: str
    table: str
    oldest: str

    def pending(self, found: str) -> list[str]:
        """The revisions that a store at `found` lacks, in words, the next one first."""
        told = {
            match[1]: match[2].replace("_", " ")
            for each in self.folder.glob("r*.py")
            if (match := re.fullmatch(r"r(\d{4})_(\w+)", each.stem))
        }
        has = _FIRST if found == UNVERSIONED else found
        return [f"{number} {told[number]}" for number in sorted(told) if number > has]


EXPERIENCE: Final = Schema(
    name="experience",
    folder=Path(__file__).parent / "revisions",
    head=HEAD,
    table="xp_version",
    oldest="xp_pack",
)
"""The experience store's tables."""


def revision_of(connection: Connection, schema: Schema) -> str:
    """The revision that a store has; "" where it has none of these tables."""
    has_table = connection.dialect.has_table
    if has_table(connection, schema.table):
        row = connection.execute(f"SELECT version_num FROM {schema.table}").fetchone()
        if row is not None:
            return str(row[0])
    return UNVERSIONED if has_table(connection, schema.oldest) else ""


def refuse_newer(found: str, schema: Schema, store: str) -> None:
    """Refuse a store that a newer version wrote.

    Raises:
        StoreVersionError: It has a revision that this version does not know.
    """
    if found <= schema.head:
        return
    raise StoreVersionError(
        f"{store} was written by a newer version ({schema.name} revision {found}; this version"
        f" reads up to {schema.head}): upgrade repertory, or name another store",
        path=store,
        found=found,
        known=schema.head,
    )


def load_alembic() -> None:
    """Import what `bring_up` needs, so that a lock is not held meanwhile."""
    import alembic.operations
    import alembic.runtime.migration
    import alembic.script  # noqa: F401


def bring_up(
    connection: "sqlalchemy.Connection",
    schema: Schema,
    store: str,
    allow: Callable[[str], None] = lambda found: None,
) -> None:
    """Run what a store lacks, in the transaction that `connection` is in.

    It looks again which revision the store has, since another process may have been
    quicker. allow: told that revision before anything is changed; it may raise.

    Raises:
        StoreVersionError: It has become newer than this version meanwhile.
    """
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from sqlalchemy import inspect

    script = ScriptDirectory(str(schema.folder), version_locations=[str(schema.folder)])

    def steps(current: Any, context: MigrationContext) -> Any:
        # What Alembic's own `upgrade` command passes on; there is no public name for it.
        return script._upgrade_revs("head", current)

    place = inspect(connection).default_schema_name
    context = MigrationContext.configure(
        connection,
        opts={"version_table": schema.table, "version_table_schema": place, "fn": steps},
    )
    found = _found(connection, schema)
    refuse_newer(found, schema, store)
    if found == schema.head:
        return
    allow(found)
    if found == UNVERSIONED:
        context.stamp(script, _FIRST)
    with Operations.context(context):
        context.run_migrations()
    crash_point("in-upgrade")


def _found(connection: "sqlalchemy.Connection", schema: Schema) -> str:
    from sqlalchemy import inspect

    inspector = inspect(connection)
    # Where new tables go, not what another program keeps further down the search path.
    place = inspector.default_schema_name
    if inspector.has_table(schema.table, place):
        row = connection.exec_driver_sql(f"SELECT version_num FROM {schema.table}").first()
        if row is not None:
            return str(row[0])
    return UNVERSIONED if inspector.has_table(schema.oldest, place) else ""
