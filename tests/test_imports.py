"""The doors: what they offer, and what they cost a program that only knocks."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import anyio
import pytest

import repertory
from repertory.runtime.journal import open_journal
from repertory.xp_store import open_database

ROOMS = ["protocol", "xp_store", "agents", "simulators", "runtime"]
HEAVY = {"aiohttp", "chromadb", "mcp", "numpy", "onnxruntime", "pydantic", "sqlmodel", "xllamacpp"}
MANIFEST = Path(__file__).parent.parent / "examples" / "invoice_desk" / "network.yaml"

LOADED = "import sys, json; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"

GLOBALS = """
import asyncio, json, locale, logging, os, signal, sys, warnings

def state():
    return {
        "log handlers": [repr(handler) for handler in logging.getLogger().handlers],
        "log level": logging.getLogger().level,
        "environment": dict(os.environ),
        "signals": [repr(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)],
        "warnings": [repr(rule) for rule in warnings.filters],
        "hooks": [repr(sys.excepthook), repr(sys.displayhook), repr(sys.unraisablehook)],
        "loop policy": type(asyncio.get_event_loop_policy()).__name__,
        "locale": locale.setlocale(locale.LC_ALL),
    }

before = state()
import repertory
after = state()
print(json.dumps([name for name in before if before[name] != after[name]]))
"""


def _python(code: str, *arguments: str) -> list[str]:
    """What a fresh interpreter prints last, as JSON."""
    words = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    names: list[str] = json.loads(done.stdout.splitlines()[-1])
    return names


def _in_order(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest: the order that ruff keeps (RUF022)."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def _after_command(*arguments: str) -> set[str]:
    """The top-level modules that are loaded when the command line has done its work."""
    code = (
        "import sys\n"
        "sys.argv[0] = 'repertory'\n"
        "from repertory.runtime.cli import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
    ) + LOADED
    return set(_python(code, *arguments))


def test_the_door_is_small_and_sorted() -> None:
    """Ours: what most programs need fits into twenty names."""
    assert len(repertory.__all__) <= 20
    assert repertory.__all__ == sorted(repertory.__all__, key=_in_order)


def test_every_name_of_the_door_is_there_and_explained() -> None:
    """Ours: a lazy door breaks only when a name is used, so each is used here."""
    for name in repertory.__all__:
        thing = getattr(repertory, name)
        assert name == "__version__" or thing.__doc__, f"repertory.{name} has no docstring"


@pytest.mark.parametrize("room", ROOMS)
def test_every_name_of_a_room_is_there(room: str) -> None:
    """Ours: a room's door is sorted, and offers nothing that does not load."""
    door = import_module(f"repertory.{room}")
    assert door.__all__ == sorted(door.__all__, key=_in_order)
    assert len(door.__all__) == len(set(door.__all__))
    for name in door.__all__:
        assert getattr(door, name) is not None, name
    assert set(door.__all__) <= set(dir(door))


@pytest.mark.parametrize("door", ["repertory", *(f"repertory.{room}" for room in ROOMS)])
def test_a_door_says_plainly_that_a_name_is_not_there(door: str) -> None:
    """Ours: a misspelled name is an AttributeError, not something found later."""
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = import_module(door).no_such_name


def test_the_door_loads_nothing_heavy() -> None:
    """Ours: a program that only imports us pays milliseconds."""
    assert not HEAVY & set(_python("import repertory\n" + LOADED))


def test_knocking_at_every_room_loads_nothing_heavy() -> None:
    """Ours: libraries load with the first name that needs them."""
    knock = "".join(f"import repertory.{room}\n" for room in ROOMS)
    assert not HEAVY & set(_python(knock + LOADED))


def test_importing_sets_nothing_global() -> None:
    """Ours: a service that embeds us keeps its own logging, signals and warnings."""
    assert _python(GLOBALS) == []


def test_help_does_not_load_the_index_or_the_models() -> None:
    """Ours: somebody who reads the help waits for no library."""
    assert not {"chromadb", "numpy", "onnxruntime", "xllamacpp"} & _after_command("--help")


def test_checking_a_manifest_does_not_load_the_index() -> None:
    """Ours: an editor may check a manifest at every key."""
    assert not {"chromadb", "onnxruntime", "xllamacpp"} & _after_command("check", str(MANIFEST))


def test_a_stop_waits_for_no_library_of_the_store(tmp_path: Path) -> None:
    """Ours: the kill switch is pressed by somebody in a hurry."""
    manifest = tmp_path / "network.yaml"
    url = f"sqlite:///{tmp_path}/store.db"
    manifest.write_text(f"network: test\nstore: {{url: '{url}'}}\nagents: {{a: {{kind: 'a:A'}}}}\n")

    async def begin() -> None:
        async with open_database(url) as database, open_journal(database):
            pass

    anyio.run(begin)
    loaded = _after_command("stop", "-m", str(manifest))
    assert not {"alembic", "chromadb", "mcp", "numpy", "sqlalchemy", "sqlmodel"} & loaded
