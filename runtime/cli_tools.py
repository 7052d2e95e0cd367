"""`repertory tools`: what the tools of outside servers say of themselves, and who approved it."""

from difflib import unified_diff
from pathlib import Path
from typing import Any

import orjson
from anyio import run
from rich.text import Text

from .audit import AuditEntry, write_audit
from .chosen import choose, reading
from .errors import InputError, did_you_mean
from .exits import Exit
from .screen import Screen, grid
from .tool_pins import ToolPin, approve, pins_of


def list_tools(path: Path, store: str, as_json: bool) -> int:
    """Show every tool that was met, and what of it waits for approval."""
    screen, chosen = Screen(json=as_json), choose(path, store)

    async def read() -> list[ToolPin]:
        async with reading(chosen) as journal:
            return await pins_of(journal.database)

    pins = run(read)
    rows = [
        (f"{pin.server}.{pin.tool}", pin.digest[:12], "changed" if pin.pending else "approved")
        for pin in pins
    ]
    screen.result({"tools": pins}, grid(("tool", "hash", "state"), rows))
    if not screen.json:
        for pin in pins:
            if pin.pending is not None:
                screen.out.print(Text("\n".join(_difference(pin, pin.pending))))
    return Exit.DONE


def approve_tools(path: Path, name: str, store: str, as_json: bool) -> int:
    """Approve the changed definition of a tool, or of all tools of a server."""
    screen, chosen = Screen(json=as_json), choose(path, store)

    async def give() -> tuple[list[ToolPin], list[str]]:
        async with reading(chosen) as journal:
            known = [f"{pin.server}.{pin.tool}" for pin in await pins_of(journal.database)]
            approved = await approve(journal.database, name)
            for pin in approved:
                told = f"{pin.changed}; approved on the command line"
                entry = AuditEntry("tool approved", target=f"{pin.server}.{pin.tool}", reason=told)
                await write_audit(journal.database, entry)
            return approved, known

    approved, known = run(give)
    if not approved:
        servers = {each.partition(".")[0] for each in known}
        if name in known or name in servers:
            raise InputError(
                f"nothing of {name} waits for approval; repertory tools list shows all"
            )
        raise InputError(f"no tool {name!r} was met; {did_you_mean(name, known)}")
    names = [f"{pin.server}.{pin.tool}" for pin in approved]
    screen.result({"approved": names}, Text(f"approved {', '.join(names)}"))
    return Exit.DONE


def _difference(pin: ToolPin, pending: Any) -> list[str]:
    """What changed, line by line; control characters in what a server says are shown, not obeyed."""
    before, after = (
        orjson.dumps(each, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode().splitlines()
        for each in (pin.definition, pending)
    )
    name = f"{pin.server}.{pin.tool}"
    return list(unified_diff(before, after, f"{name} approved", f"{name} offered", lineterm=""))
