"""The house's habits, where no linter knows them."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
ROOMS = ["protocol", "xp_store", "agents", "simulators", "runtime"]
TESTS = sorted((REPOSITORY / "tests").rglob("test_*.py"))

PAGES = sorted(
    page
    for place in ("*.md", "docs/**/*.md", "examples/**/*.md")
    for page in REPOSITORY.glob(place)
)


def _place(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def _tests(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                if name.startswith("test_"):
                    yield node


@pytest.mark.parametrize("path", TESTS, ids=_place)
def test_every_test_says_where_its_demand_comes_from(path: Path) -> None:
    """Ours: a reader knows whether a specification, a paper or we ask for it."""
    silent = [
        test.name
        for test in _tests(path)
        if not (ast.get_docstring(test) or "").startswith(("Spec: ", "Paper: ", "Ours: "))
    ]
    assert silent == [], f"in {_place(path)} without `Spec:`, `Paper:` or `Ours:`"


def test_tests_are_no_packages() -> None:
    """Ours: `tests/runtime` as a package would shadow the room `runtime`."""
    assert list((REPOSITORY / "tests").rglob("__init__.py")) == []


def test_no_test_mocks() -> None:
    """Ours: fakes are public and pass the contracts of the real thing."""
    mock = re.compile(r"^\s*(?:from|import) (?:unittest\.mock|mock)\b|\bmocker\b", re.MULTILINE)
    files = [path for path in TESTS if path != Path(__file__)]
    assert [_place(path) for path in files if mock.search(path.read_text("utf-8"))] == []


def test_no_test_asserts_what_the_clock_says() -> None:
    """Ours: speed belongs in benchmarks/; a busy machine must not fail a test."""
    clock = re.compile(r"assert .*(?:perf_counter|monotonic|time\.time)\(")
    assert [_place(path) for path in TESTS if clock.search(path.read_text("utf-8"))] == []


def test_files_are_nouns_of_the_field() -> None:
    """Ours: what has no better name than these has no clear job."""
    vague = {"utils", "util", "helpers", "common", "base", "manager", "misc"}
    modules = [path for room in ROOMS for path in (REPOSITORY / room).rglob("*.py")]
    assert [_place(p) for p in modules if p.stem in vague or re.search(r"_v\d+$", p.stem)] == []


def test_every_room_is_linked_into_the_package() -> None:
    """Ours: the rooms are folders of the repository and modules of `repertory`."""
    for room in ROOMS:
        link = REPOSITORY / "repertory" / room
        assert link.is_symlink()
        assert link.readlink() == Path("..") / room


def test_every_link_of_the_documents_leads_somewhere() -> None:
    """Ours: a document that points at nothing costs its reader's trust."""
    broken = [
        f"{_place(page)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text("utf-8"))
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_what_is_pinned_is_a_name_and_a_version() -> None:
    """Ours: constraints.txt works with every index, so it names none."""
    pins = (REPOSITORY / "constraints.txt").read_text("utf-8").split()
    assert pins
    assert [pin for pin in pins if not re.fullmatch(r"[a-z0-9-]+==[0-9a-z.]+", pin)] == []


def test_nothing_that_is_stored_or_received_can_run_code() -> None:
    """Ours: no pickle in any form, no evaluation, no YAML that makes objects (S9)."""
    modules = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "jsonpickle"}
    calls = {"eval", "exec", "unsafe_load", "full_load"}
    found = []
    for path in (path for room in ROOMS for path in (REPOSITORY / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Import(names=names) if modules & {each.name for each in names}:
                    found.append(_place(path))
                case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in modules:
                    found.append(_place(path))
                case ast.Call(func=ast.Name(id=name)) if name in calls:
                    found.append(f"{_place(path)}: {name}")
                case ast.Call(func=ast.Attribute(value=ast.Name(id="yaml"), attr=name)) if name in {
                    *calls,
                    "load",
                }:
                    found.append(f"{_place(path)}: yaml.{name}")
    # Checks are code by their nature, and run in a bounded process of their own.
    assert found == ["xp_store/check_server.py: exec"]


def test_every_recipe_has_a_sentence() -> None:
    """Ours: `just` alone tells a newcomer what there is."""
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    just = shutil.which("just", path=beside)
    assert just, "the `test` extra installs rust-just"
    listing = [just, "--list", "--unsorted"]
    done = subprocess.run(listing, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    recipes = done.stdout.splitlines()[1:]
    assert recipes
    assert [line for line in recipes if "#" not in line] == []
