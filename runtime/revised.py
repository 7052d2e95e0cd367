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
    """A room's tables in a store, and which revision they have; "" where there are none."""

    schema: Schema
    found: str

    @property
    def pending(self) -> list[str]:
        """What they lack, in words; blocking."""
        return self.schema.pending(self.found)

    @property
    def sentence(self) -> str:
        """Which revision they have."""
        name = self.schema.name
        if not self.found:
            return f"{name}: none yet"
        if self.found == UNVERSIONED:
            return f"{name}: from before revisions were kept"
        return f"{name} {self.found}"


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
    return [Revised(schema, found) for schema, found in zip(SCHEMAS, held, strict=True)]
