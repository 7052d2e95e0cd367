from repertory.simulators.disparity.analysis import Settings, analyze, result_json
from repertory.simulators.disparity.drift import drifts
from repertory.simulators.disparity.events import Event, EventColumns, EventTable
from repertory.simulators.disparity.lifecycle import stage_notes, stages_of
from repertory.simulators.disparity.spans import STAGES, stage_named
from repertory.simulators.disparity.synthetic import Office, office
from tests.claims import claim

FAST = Settings(n_min=50, draws=40)


def _table(events: list[Event]) -> EventTable:
    columns = EventColumns()
    columns.extend(events)
    return columns.table()


@claim("habd:stages")
def test_every_actor_is_measured_at_every_stage_that_he_is_seen_at() -> None:
    """Paper: arXiv 2508.14415: the six stages of the network behavior lifecycle."""
    events = [
        Event("a", float(i), "x" if i % 2 else "y", f"case {i // 10}", stage=STAGES[2 * (i % 3)])
        for i in range(300)
    ]
    events.append(Event("a", 400.0, "z", "case 99", stage=STAGES[0]))
    table = _table(events)
    found = stages_of(table, FAST)
    assert [(s.stage, s.events) for s in found] == [
        (STAGES[0], 101),
        (STAGES[2], 100),
        (STAGES[4], 100),
    ]
    assert found[1].measures["median_gap"].value > 2
    notes = "\n".join(stage_notes(table))
    assert "no event of the log is at the stage information gathering, decision mechanism" in notes
    assert "1 of 31 traces lack the stage reasoning process" in notes
    assert stage_notes(_table([Event("a", 1.0, "x")]))[0].startswith("the log names no stage")


def test_a_stage_is_known_by_name_first_word_or_number() -> None:
    """Ours: logs write stages in many ways; another word stays what it is."""
    assert [stage_named(w) for w in ("Reasoning", "4", "feedback acquisition")] == [
        STAGES[2],
        STAGES[3],
        STAGES[5],
    ]
    assert stage_named("Lunch") == "lunch"


def test_drift_is_told_of_who_changed_and_of_nobody_else() -> None:
    """Ours: each actor against his own last analysis."""
    events = list(office(Office(clerks=10, events=12_000)))
    before = result_json(analyze(_table(events), None, FAST))
    changed = [e._replace(action="W_Handle leads") if e.actor == "clerk 03" else e for e in events]
    again = analyze(_table(changed), None, FAST)
    moved = drifts(before, again.actors)
    assert {d.actor for d in moved} == {"clerk 03"}
    assert "action_entropy" in {d.measure for d in moved}
    assert drifts(before, analyze(_table(events), None, FAST).actors) == []
