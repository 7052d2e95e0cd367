import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from repertory.simulators import SimulatorInputError
from repertory.simulators.disparity import EventTable, load_events, load_labels

START = datetime(2011, 10, 3, 9, tzinfo=UTC)


def _xes(events: int) -> str:
    rows = "".join(
        f'<event><string key="org:resource" value="r{i % 3}"/>'
        f'<string key="concept:name" value="A"/>'
        f'<string key="lifecycle:transition" value="{"START" if i % 2 else "COMPLETE"}"/>'
        f'<date key="time:timestamp" value="{(START + timedelta(minutes=i)).isoformat()}"/></event>'
        for i in range(events)
    )
    head = '<?xml version="1.0" encoding="UTF-8"?><log xes.version="1.0">'
    return f'{head}<trace><string key="concept:name" value="case 1"/>{rows}</trace></log>'


def _write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def _same(a: EventTable, b: EventTable) -> bool:
    told = [[t.event(i) for i in range(len(t))] for t in (a, b)]
    return [e[:3] for e in told[0]] == [e[:3] for e in told[1]]


def test_a_log_reads_the_same_from_xes_csv_and_json_lines(tmp_path: Path) -> None:
    """Spec: IEEE 1849; the same events in three kinds of file are one table."""
    xes = load_events([_write(tmp_path, "log.xes", _xes(60))])
    events = [xes.event(i) for i in range(len(xes))]
    rows = "\n".join(f"{e.actor};{e.time};{e.action};{e.object}" for e in events)
    csv = load_events([_write(tmp_path, "log.csv", f"Resource;Timestamp;Activity;Case ID\n{rows}")])
    lines = "\n".join(
        json.dumps({"actor": e.actor, "t": e.time, "action": e.action}) for e in events
    )
    jsonl = load_events([_write(tmp_path, "log.jsonl", lines)])
    packed = tmp_path / "log.xes.gz"
    packed.write_bytes(gzip.compress(_xes(60).encode()))
    assert len(xes) == 60
    assert set(xes.words["action"]) == {"A", "A+start"}
    assert xes.word("object", 0) == csv.word("object", 0) == "case 1"
    assert _same(xes, csv)
    assert _same(xes, jsonl)
    assert _same(xes, load_events([packed]))


@pytest.mark.parametrize("packed", [False, True])
def test_a_log_cut_in_the_middle_gives_what_it_holds(tmp_path: Path, packed: bool) -> None:
    """Ours: half a file is half the evidence, and the cut is told."""
    path = tmp_path / ("log.xes.gz" if packed else "log.xes")
    whole = _xes(5000).encode()
    path.write_bytes(gzip.compress(whole)[:-2000] if packed else whole[: len(whole) // 2])
    table = load_events([path])
    assert 1000 < len(table) < 5000
    assert any("cut or broken" in note for note in table.notes)


def test_a_log_that_declares_entities_is_not_expanded(tmp_path: Path) -> None:
    """Ours: a log is data; what blows up in memory is refused."""
    bomb = '<?xml version="1.0"?><!DOCTYPE log [<!ENTITY a "aaaa">]><log>&a;</log>'
    with pytest.raises(SimulatorInputError, match="entities"):
        load_events([_write(tmp_path, "bomb.xes", bomb)])


def test_what_a_log_is_forgiven_is_told(tmp_path: Path) -> None:
    """Ours: order, duplicates, holes, zones and rows that say too little, a sentence each."""
    rows = [
        "a,2024-03-01T10:00:05+00:00,x",
        "a,2024-03-01T10:00:00+00:00,x",
        "a,2024-03-01T10:00:00+00:00,x",
        "b,2024-03-01T15:00:00+05:00,x",
        ",2024-03-01T10:00:00+00:00,x",
        "b,yesterday,x",
        "b,2024-09-01T10:00:00+00:00,y",
    ]
    table = load_events([_write(tmp_path, "log.csv", "actor,time,action\n" + "\n".join(rows))])
    told = "\n".join(table.notes)
    assert len(table) == 4
    assert list(table.time[:2]) == sorted(table.time[:2])
    for part in ("order", "1 exact duplicate", "without actor", "without readable time", "zones"):
        assert part in told
    assert "nothing happened for 184 days" in told


def test_a_clock_that_went_back_is_told(tmp_path: Path) -> None:
    """Ours: in a file that is in order otherwise, a step back is the clock's."""
    rows = [f"a,{1.7e9 + i - (3600 if i == 150 else 0)},x" for i in range(300)]
    table = load_events([_write(tmp_path, "log.csv", "actor,time,action\n" + "\n".join(rows))])
    assert len(table) == 300
    assert any("the clock went back 1 time (first at event 151" in note for note in table.notes)


def test_spans_of_otlp_are_their_agents_events(tmp_path: Path) -> None:
    """Spec: OTLP/JSON; a tool's span is the act of the agent above it, at its stage."""

    def span(name: str, number: int, parent: str, facts: dict[str, str]) -> dict[str, object]:
        attributes = [{"key": k, "value": {"stringValue": v}} for k, v in facts.items()]
        return {
            "traceId": "t1",
            "spanId": f"s{number}",
            "parentSpanId": parent,
            "name": name,
            "kind": 1,
            "startTimeUnixNano": str(1_700_000_000_000_000_000 + number * 10**9),
            "endTimeUnixNano": str(1_700_000_001_000_000_000 + number * 10**9),
            "attributes": attributes,
        }

    spans = [
        span("invoke_agent clerk", 1, "", {"gen_ai.agent.name": "clerk"}),
        span("execute_tool post", 2, "s1", {"gen_ai.tool.name": "post"}),
        span("thinking", 3, "s1", {"lifecycle.stage": "3"}),
    ]
    request = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}
    table = load_events([_write(tmp_path, "spans.json", json.dumps(request, indent=1))])
    events = [table.event(i) for i in range(3)]
    assert [e.actor for e in events] == ["clerk"] * 3
    assert [e.action for e in events] == ["invoke_agent", "execute_tool post", "thinking"]
    assert [e.stage for e in events] == [
        "target confirmation",
        "action execution",
        "reasoning process",
    ]


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("log.csv", "who,when\n1,2", "no column for actor and time and action"),
        ("log.json", "{broken", "neither JSON nor JSON lines"),
        ("log.csv", "actor,time,action\n,,\n", "no event with an actor"),
        ("empty.csv", "", "it is empty"),
    ],
)
def test_what_is_no_log_is_refused_with_a_sentence(
    tmp_path: Path, name: str, text: str, sentence: str
) -> None:
    """Ours: bad input names the file and what may be there."""
    with pytest.raises(SimulatorInputError, match=sentence):
        load_events([_write(tmp_path, name, text)])


def test_another_column_can_be_named(tmp_path: Path) -> None:
    """Ours: a log with names of its own is read once they are said."""
    path = _write(tmp_path, "log.csv", "wer,time,action\nana,5,x\n")
    assert load_events([path], columns={"actor": "wer"}).actors == ("ana",)


def test_a_number_is_one_actor_however_a_table_writes_it(tmp_path: Path) -> None:
    """Ours: tables with gaps in a column of numbers write 112 as 112.0."""
    log = "actor,time,action\n112.0,5,x\n112,6,x\nv1.0,7,x\n"
    table = load_events([_write(tmp_path, "log.csv", log)])
    labels = load_labels(_write(tmp_path, "l.csv", "actor,label\n112.0,bot\n"))
    assert table.actors == ("112", "v1.0")
    assert labels.agents == {"112"}


def test_labels_say_who_is_human_and_what_fits_no_actor(tmp_path: Path) -> None:
    """Ours: a list of names is a list of humans; unknown words are refused, unknown actors told."""
    plain = load_labels(_write(tmp_path, "humans.csv", "r0\nr1\nnobody\n"))
    full = load_labels(_write(tmp_path, "l.csv", "actor,label,role\nr0,human,desk\nr1,Bot,\n"))
    table = load_events([_write(tmp_path, "log.xes", _xes(9))])
    assert plain.humans == {"r0", "r1", "nobody"}
    assert "1 labelled actors are not in the log" in plain.notes(table)[0]
    assert full.agents == {"r1"}
    assert full.roles == {"r0": "desk"}
    with pytest.raises(SimulatorInputError, match="row 1 has the label 'martian'"):
        load_labels(_write(tmp_path, "bad.csv", "actor,label\nr0,martian\n"))
