"""Stores as earlier versions left them when they were killed, taken up by this one: fault F16.

Each archive in `kept` was written by `repertory run` of the day that it is named by, killed
over eight mails: some are done, one waits for a person, and the rest are in the middle of
a posting whose outcome nobody knows. Beside the store lie the books and the calls of then.
"""

import tarfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random

import psycopg
import yaml

from .driver import Driver, Job, Tally
from .scenarios import small_desk

KEPT = Path(__file__).parents[1] / "kept"


def kept_stores() -> list[str]:
    """The names of the stores, `ENGINE-DAY`."""
    return sorted(each.name.removesuffix(".tar.xz") for each in KEPT.glob("*.tar.xz"))


def restore(name: str, folder: Path, url: str = "") -> Job:
    """Lay a kept store and its desk into `folder`; one of a server goes into the database at `url`."""
    job = small_desk(folder, 8, first=1)
    with tarfile.open(KEPT / f"{name}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    if not name.startswith("postgresql"):
        return job
    script = (folder / "store.sql").read_text().splitlines()
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        # What begins so is for `psql`.
        connection.execute("\n".join(line for line in script if not line.startswith("\\")).encode())
    manifest = folder / "network.yaml"
    told = yaml.safe_load(manifest.read_text())
    manifest.write_text(yaml.safe_dump({**told, "store": {"url": url}}, sort_keys=False))
    return replace(job, store=url)


def resume(
    name: str, folder: Path, url: str = "", say: Callable[[str], None] = lambda told: None
) -> Tally:
    """Let this version finish what a kept store holds; `faults` of the tally says what is wrong."""
    tally = Tally()
    Driver(restore(name, folder, url), Random(16), tally, say).run(0)
    return tally
