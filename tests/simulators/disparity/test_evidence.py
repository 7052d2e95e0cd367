import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from repertory.simulators import SimulatorInputError
from repertory.simulators.disparity.evidence import evidence_pack, load_pack, pack_problems
from tests.claims import claim

AT = datetime(2026, 3, 1, tzinfo=UTC)


def _pack(folder: Path) -> tuple[Path, dict[str, object]]:
    log = folder / "log.csv"
    log.write_text("actor,time,action\n", encoding="utf-8")
    found = [("judge", "a: agent-like", {"actor": "a", "p": 0.01}), ("judge", "b", {"actor": "b"})]
    return log, evidence_pack([log], found, at=AT)


def test_an_evidence_pack_is_intact_and_knows_its_logs(tmp_path: Path) -> None:
    """Ours: the chain of the experience store's ledger, over the digests of what was judged."""
    log, pack = _pack(tmp_path)
    assert pack_problems(pack, [log]) == []
    assert pack == evidence_pack([log], _contents(pack), at=AT)
    log.write_text("changed", encoding="utf-8")
    assert "has changed since" in pack_problems(pack, [log])[0]


def _contents(pack: dict[str, object]) -> list[tuple[str, str, object]]:
    entries = pack["entries"]
    assert isinstance(entries, list)
    return [(e["verb"], e["reason"], e["content"]) for e in entries[1:]]


@claim("habd:evidence")
@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda e, p: e[1].update(reason="b: human-like"), "entry 2 was altered"),
        (lambda e, p: e[1]["content"].update(p=0.9), "what entry 2 found was altered"),
        (lambda e, p: e.pop(1), "is missing"),
        (lambda e, p: e.pop(), "missing at the end"),
        (lambda e, p: e.reverse(), "is missing before"),
        (lambda e, p: e[0].pop("hash"), "entry 1 is no entry"),
        (lambda e, p: e.clear(), "no entries"),
    ],
)
def test_whatever_is_altered_taken_out_or_moved_breaks_the_chain(
    tmp_path: Path, harm: object, told: str
) -> None:
    """Ours: an auditor need not trust who keeps the file, only the last hash."""
    _, pack = _pack(tmp_path)
    copy = json.loads(json.dumps(pack))
    assert callable(harm)
    harm(copy["entries"], copy)
    assert any(told in problem for problem in pack_problems(copy))


def test_what_is_no_pack_is_refused(tmp_path: Path) -> None:
    """Ours: one sentence that names the file."""
    path = tmp_path / "pack.json"
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(SimulatorInputError, match=r"pack\.json: no evidence pack"):
        load_pack(path)
    with pytest.raises(SimulatorInputError, match="not readable as JSON"):
        load_pack(tmp_path / "nowhere.json")
