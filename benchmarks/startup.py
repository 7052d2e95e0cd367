"""What it costs to begin: fresh interpreters that import us, print the help, check a manifest, stop a network.

    python benchmarks/startup.py [--rounds 5] [--write]

Prints the median of wall seconds and of CPU milliseconds over the rounds, beside
a bare interpreter and beside the libraries that the doors keep outside until
they are needed. CPU time hardly depends on what else the machine does.
"""

import argparse
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import anyio
from rich.console import Console
from rich.table import Table

# Run as a program, this file has only its own folder on the path.
sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.results import write
from repertory.runtime.journal import open_journal
from repertory.xp_store import open_database

MANIFEST = Path(__file__).parent.parent / "examples" / "invoice_desk" / "network.yaml"
CLI = ["-c", "from repertory.runtime.cli import main; main()"]
# Stands for the manifest of a network that was made for this and that nobody runs.
STOPPED = "STOPPED"
STARTS = {
    "python": ["-c", "pass"],
    "import repertory": ["-c", "import repertory"],
    "repertory --help": [*CLI, "--help"],
    "repertory check": [*CLI, "check", str(MANIFEST)],
    "repertory stop": [*CLI, "stop", "-m", STOPPED],
    "from repertory import open_network": ["-c", "from repertory import open_network"],
    "import mcp": ["-c", "import mcp"],
    "import sqlmodel": ["-c", "import sqlmodel"],
    "import chromadb": ["-c", "import chromadb"],
}


def _stoppable(folder: Path) -> str:
    """The manifest of a network with a store."""
    url = f"sqlite:///{folder}/store.db"
    manifest = folder / "network.yaml"
    manifest.write_text(f"network: test\nstore: {{url: '{url}'}}\nagents: {{a: {{kind: 'a:A'}}}}\n")

    async def begin() -> None:
        async with open_database(url) as database, open_journal(database):
            pass

    anyio.run(begin)
    return str(manifest)


def _start(arguments: list[str]) -> tuple[float, float]:
    """Wall seconds and CPU seconds of one fresh interpreter."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    wall = perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="write into benchmarks/README.md")
    options = parser.parse_args()
    rows = []
    with TemporaryDirectory() as folder:
        manifest = _stoppable(Path(folder))
        for name, words in STARTS.items():
            arguments = [manifest if word == STOPPED else word for word in words]
            _start(arguments)
            walls, cpus = zip(*(_start(arguments) for _ in range(options.rounds)), strict=True)
            rows.append((name, statistics.median(walls), statistics.median(cpus)))
    table = Table(title=f"Median of {options.rounds} starts, after one to warm the files")
    for heading in ("", "wall s", "CPU ms"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, wall, cpu in rows:
        table.add_row(name, f"{wall:.2f}", f"{cpu * 1000:.0f}")
    Console().print(table)
    if options.write:
        lines = ["| | wall s | CPU ms |", "|---|---|---|"]
        lines += [f"| `{name}` | {wall:.2f} | {cpu * 1000:.0f} |" for name, wall, cpu in rows]
        lines += ["", f"Medians of {options.rounds} starts of a fresh interpreter, files warm."]
        write("startup", "\n".join(lines))


if __name__ == "__main__":
    main()
