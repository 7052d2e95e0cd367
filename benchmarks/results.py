"""Where the benchmarks write their results: blocks of benchmarks/README.md, each between its marks."""

import os
import platform
import re
from datetime import UTC, datetime
from pathlib import Path

README = Path(__file__).parent / "README.md"


def write(name: str, text: str) -> None:
    """Replace the block `name` with `text`, and say on what it was measured."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    where = (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} with {os.cpu_count()} cores,"
        f" Python {platform.python_version()}, load {load} at the end."
    )
    block = f"<!-- {name} -->\n{text}\n\n{where}\n<!-- /{name} -->"
    page = README.read_text(encoding="utf-8")
    found = re.compile(rf"<!-- {name} -->.*<!-- /{name} -->", re.DOTALL)
    if not found.search(page):
        raise SystemExit(f"{README} has no block {name!r}")
    README.write_text(found.sub(lambda _: block, page), encoding="utf-8")
