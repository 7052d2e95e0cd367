"""Which revisions of its tables a store has, room by room."""

from dataclasses import dataclass

from repertory.xp_store import (
    EXPERIENCE,
    UNVERSIONED,
    Database,
    Schema,
    refuse_newer,
    revision_of,
)

from .tables import JOURNAL

SCHEMAS = (JOURNAL, EXPERIENCE)


@dataclass(frozen=True, slots=True)
class Revised:
    """A room's tables in a store. found: "" where there are none; pending: what they lack."""

    name: str
    found: str
    newest: str
    pending: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """Which revision they have."""
        if not self.found:
            return f"{self.name}: none yet"
        if self.found == UNVERSIONED:
            return f"{self.name}: from before revisions were kept"
        return f"{self.name} {self.found}"


async def revisions_of(database: Database) -> list[Revised]:
    """Which revision each room's tables have in a store.

    Raises:
        StoreVersionError: A newer version wrote one of them.
    """

    held = await database.read(
        lambda connection: [revision_of(connection, schema) for schema in SCHEMAS]
    )
    for schema, found in zip(SCHEMAS, held, strict=True):
        refuse_newer(found, schema, database.name)
    return [revised(schema, found) for schema, found in zip(SCHEMAS, held, strict=True)]


def revised(schema: Schema, found: str) -> Revised:
    """What tables at `found` lack; "" where there are none."""
    return Revised(schema.name, found, schema.head, tuple(schema.pending(found)))
