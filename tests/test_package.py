"""The package as others get it: an sdist, the wheel built from it, a clean environment."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import repertory

REPOSITORY = Path(__file__).parent.parent
ROOMS = ["protocol", "xp_store", "agents", "simulators", "runtime"]

pytestmark = pytest.mark.slow


def _run(*argv: str | Path, cwd: Path) -> str:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    words = [str(word) for word in argv]
    done = subprocess.run(words, cwd=cwd, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the sdist, and the wheel that was built from that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder)]
    _run(*build, REPOSITORY, cwd=folder)
    return folder


def _sources() -> set[str]:
    """Every file of the rooms, by its place in the package."""
    files = {
        f"repertory/{path.relative_to(REPOSITORY)}"
        for room in ROOMS
        for path in (REPOSITORY / room).rglob("*.py")
    }
    return files | {"repertory/__init__.py", "repertory/py.typed"}


def test_the_sdist_holds_every_file_of_every_room_and_no_other_code(built: Path) -> None:
    """Ours: the rooms are links in the repository, and builders treat links each in its way."""
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        assert all(member.isfile() for member in archive), "a link was stored as a link"
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml"} <= names
    assert {name for name in names if name.endswith((".py", ".typed"))} == _sources()


def test_the_wheel_holds_every_file_of_every_room_and_nothing_beside(built: Path) -> None:
    """Ours: a second top-level folder would overwrite another package of that name."""
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names >= _sources()
    assert {name.partition("/")[0] for name in names} == {"repertory"}


def test_the_wheel_works_in_a_clean_environment(built: Path, tmp_path: Path) -> None:
    """Ours: every room imports from the installed wheel, and the command says its version.

    The environment is new but borrows the dependencies of this one by a path
    file, whose own path files, ours among them, are not followed: what is
    imported as `repertory` can only be the wheel.
    """
    (wheel,) = built.glob("*.whl")
    venv.create(tmp_path / "env", symlinks=True)
    python = tmp_path / "env" / "bin" / "python"
    install = ["-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index"]
    _run(sys.executable, *install, wheel, cwd=tmp_path)
    (packages,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    rooms = ", ".join(f"repertory.{room}" for room in ROOMS)
    where = _run(python, "-c", f"import {rooms}; print(repertory.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(packages)
    every_name = (
        "import importlib\n"
        f"for room in {ROOMS}:\n"
        "    door = importlib.import_module(f'repertory.{room}')\n"
        "    for name in door.__all__:\n"
        "        getattr(door, name)\n"
    )
    _run(python, "-c", every_name, cwd=tmp_path)
    version = _run(tmp_path / "env" / "bin" / "repertory", "--version", cwd=tmp_path)
    assert repertory.__version__ in version
