"""`repertory store upgrade`: bring a store to this version's tables before anything runs on it."""

from pathlib import Path

import anyio

from repertory.xp_store import file_of, open_database

from .chosen import choose
from .exits import Exit
from .revised import SCHEMAS, Revised, revised, revisions_of
from .screen import Screen, grid


def upgrade_store(path: Path, store: str, dry_run: bool, as_json: bool) -> int:
    """Run the revisions that a store lacks, or only name them."""
    screen, chosen = Screen(json=as_json), choose(path, store)

    async def change() -> list[Revised]:
        file = file_of(chosen.url)
        if dry_run and file is not None and not await anyio.Path(file).exists():
            # To look makes nothing.
            return [revised(schema, "") for schema in SCHEMAS]
        async with open_database(chosen.url) as database:
            before = await revisions_of(database)
            if not dry_run:
                for schema in SCHEMAS:
                    await database.upgrade(schema)
            return before

    found = anyio.run(change)
    rows = [(each.sentence, each.newest, ", ".join(each.pending) or "nothing") for each in found]
    screen.result(
        {"changed": not dry_run and any(each.pending for each in found), "tables": found},
        grid(("before", "newest", "would be run" if dry_run else "was run"), rows),
    )
    return Exit.DONE
