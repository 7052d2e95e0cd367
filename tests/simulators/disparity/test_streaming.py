import numpy as np
import pytest

from repertory.simulators import SimulatorInputError
from repertory.simulators.disparity.analysis import Settings, analyze, analyze_profiles
from repertory.simulators.disparity.events import Event, EventColumns
from repertory.simulators.disparity.labels import Labels
from repertory.simulators.disparity.streaming import OTHER, Words, read_stream
from repertory.simulators.disparity.synthetic import Office, office

FAST = Settings(draws=40)


def test_a_stream_gives_the_measures_of_the_whole_log() -> None:
    """Ours: piece by piece in constant memory, and the same to the last digit but of rounding."""
    events = sorted(office(Office(clerks=12, events=24_000, weeks=30)), key=lambda e: e.time)
    columns = EventColumns()
    columns.extend(events)
    table = columns.table()
    labels = Labels({n: "human" for n in table.actors if n.startswith("clerk")}, {})
    whole = analyze(table, labels, FAST)
    stream = read_stream(events, [])
    names, actions = stream.actors.words, stream.actions.words
    piecewise = analyze_profiles(stream.profiles, names, actions, labels, FAST, {}, stream.roles)
    for actor in whole.actors:
        other = piecewise.actor(actor.name)
        assert other.verdict == actor.verdict
        for key, estimate in actor.measures.items():
            assert other.measures[key].value == pytest.approx(
                estimate.value, rel=1e-9, abs=1e-9, nan_ok=True
            )


def test_a_stream_out_of_order_is_refused_and_a_slip_is_left_out() -> None:
    """Ours: gaps over a log that is not in order would be wrong."""
    events = [Event("a", float(i), "x") for i in range(1000)]
    slipped = [*events[:500], Event("a", 3.0, "x"), *events[500:]]
    stream = read_stream(slipped, [])
    assert any("1 events out of order" in note for note in stream.notes)
    rng = np.random.default_rng(0)
    with pytest.raises(SimulatorInputError, match="must be in order of time"):
        read_stream([events[int(i)] for i in rng.permutation(1000)], [])
    with pytest.raises(SimulatorInputError, match="no event"):
        read_stream([], [])


def test_words_beyond_the_limit_count_as_others() -> None:
    """Ours: memory is bounded whatever a log names."""
    words = Words(3)
    assert [words.code(w) for w in ("a", "b", "c", "d", "a")] == [1, 2, 3, 3, 1]
    assert words.words == ("", "a", "b", OTHER)
    assert words.cut == 2
    stream = read_stream([Event(f"actor {i}", float(i), "x") for i in range(50)], [], actors=10)
    assert len(stream.actors.words) == 11
    assert any("beyond the first 10" in note for note in stream.notes)
