"""`repertory store upgrade`: bring a store to this version's tables before anything runs on it."""

from pathlib import Path

import anyio

from repertory.xp_store import file_of, open_database

from .chosen import choose
from .exits import Exit
from .revised import SCHEMAS, Revised, revisions_of
from .screen import Screen, grid


def upgrade_store(path: Path, store: str, dry_run: bool, as_json: bool) -> int:
    """Run the revisions that a store lacks, or only name them."""
    screen, chosen = Screen(json=as_json), choose(path, store)

    async def change() -> list[Revised]:
        file = file_of(chosen.url)
        if dry_run and file is not None and not await anyio.Path(file).exists():
            # To look makes nothing.
            return [Revised(schema, "") for schema in SCHEMAS]
        async with open_database(chosen.url) as database:
            before = await revisions_of(database)
            if not dry_run:
                for schema in SCHEMAS:
                    await database.upgrade(schema)
            return before

    found = anyio.run(change)
    ran = [each.pending for each in found]
    tables = [
        {
            "name": each.schema.name,
            "found": each.found,
            "newest": each.schema.head,
            "pending": lacks,
        }
        for each, lacks in zip(found, ran, strict=True)
    ]
    rows = [
        (each.sentence, each.schema.head, ", ".join(lacks) or "nothing")
        for each, lacks in zip(found, ran, strict=True)
    ]
    screen.result(
        {"changed": not dry_run and any(ran), "tables": tables},
        grid(("before", "newest", "would be run" if dry_run else "was run"), rows),
    )
    return Exit.DONE
