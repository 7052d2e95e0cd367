from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from repertory.simulators.disparity.analysis import Analysis, Settings, analyze, result_json
from repertory.simulators.disparity.events import Event, EventColumns, EventTable
from repertory.simulators.disparity.labels import Labels
from repertory.simulators.disparity.null import tail_p
from repertory.simulators.disparity.synthetic import Office, office, renewal
from tests.claims import claim

FAST = Settings(draws=60)


def _table(events: list[Event]) -> EventTable:
    columns = EventColumns()
    columns.extend(events)
    return columns.table()


@pytest.fixture(scope="module")
def log() -> EventTable:
    return _table(list(office(Office(events=60_000, night_workers=4))))


def _clerks(table: EventTable) -> Labels:
    return Labels({name: "human" for name in table.actors if name.startswith("clerk")}, {})


def _verdicts(analysis: Analysis) -> Counter[tuple[str, str]]:
    return Counter((a.name.split()[0], a.verdict) for a in analysis.actors)


@claim("habd:null")
def test_the_automaton_of_an_office_is_found_and_no_clerk_is_accused(log: EventTable) -> None:
    """Ours: clerks of four roles, four of them on night shift; one automaton has no role peers."""
    found = analyze(log, _clerks(log), FAST)
    automaton = found.actor("automaton 0")
    assert automaton.verdict == "agent-like"
    assert _verdicts(found)["clerk", "agent-like"] == 0
    assert _verdicts(found)["clerk", "human-like"] > 30
    by_name = {d.name: d for d in automaton.dimensions}
    assert by_name["decision mechanism"].reason == "too few humans do this actor's work"
    assert by_name["execution efficiency"].adjusted <= 0.05
    assert 1 <= len(automaton.weighty) <= 3


def test_clerks_who_are_not_labelled_are_not_accused_either(log: EventTable) -> None:
    """Ours: with half of the humans known, the other half is judged and the automaton still stands out."""
    half = Labels({name: "human" for name in log.actors[1::2] if name.startswith("clerk")}, {})
    found = analyze(log, half, FAST)
    assert found.actor("automaton 0").verdict == "agent-like"
    assert _verdicts(found)["clerk", "agent-like"] == 0


def test_roles_do_not_masquerade_as_disparity() -> None:
    """Ours: in an office of humans of different roles nobody is agent-like, in any of eight offices."""
    accused = 0
    for seed in range(8):
        table = _table(list(office(Office(clerks=30, automata=0, events=16_000, seed=seed))))
        half = Labels(dict.fromkeys(table.actors[::2], "human"), {})
        accused += sum(a.verdict == "agent-like" for a in analyze(table, half, FAST).actors)
    # 120 unlabelled clerks of eight offices; 5 % of offices may accuse one by chance.
    assert accused <= 1


def test_random_delays_do_not_hide_the_automaton(log: EventTable) -> None:
    """Ours: the adversarial row: gaps hide behind delays of minutes, the hours of the day do not."""
    rng = np.random.default_rng(0)
    automaton = log.codes["actor"] == log.actors.index("automaton 0")
    late = log.with_times(log.time + np.where(automaton, rng.exponential(300, len(log)), 0.0))
    before = analyze(log, _clerks(log), FAST).actor("automaton 0").measures
    after = analyze(late, _clerks(log), FAST).actor("automaton 0")
    assert after.measures["fast_gaps"].value < before["fast_gaps"].value / 2
    assert after.verdict == "agent-like"


def _mixed(seed: int) -> EventTable:
    """Twelve humans with bursts and habits, twelve bots with neither, all of one work."""
    rng = np.random.default_rng(seed)
    events: list[Event] = []
    for i in range(24):
        bot = i >= 12
        gaps = rng.exponential(400, 400) if bot else rng.lognormal(4, 1.8, 400)
        odds = rng.dirichlet(np.ones(4) * (60 if not bot else 600))
        actions = rng.choice(["a", "b", "c", "d"], 400, p=odds)
        if bot:
            actions = np.repeat(actions[:100], 4)
        events += renewal(f"{'bot' if bot else 'human'} {i:02d}", gaps, [str(a) for a in actions])
    return _table(events)


@claim("habd:labels")
def test_true_labels_separate_and_shuffled_ones_do_not() -> None:
    """Ours: permuted labels give an AUC about .5, and no verdict but indeterminate."""
    table = _mixed(0)
    kinds = {n: "agent" if n.startswith("bot") else "human" for n in table.actors}
    true = analyze(table, Labels(kinds, dict.fromkeys(kinds, "desk")), FAST)
    assert true.separation is not None
    assert true.separation.value > 0.9
    rng, separations, others = np.random.default_rng(1), [], 0
    for _ in range(12):
        shuffled = dict(zip(kinds, rng.permutation(list(kinds.values())), strict=True))
        found = analyze(table, Labels(shuffled, dict.fromkeys(kinds, "desk")), FAST)
        assert found.separation is not None
        separations.append(found.separation.value)
        others += sum(a.verdict == "agent-like" for a in found.actors)
    assert np.mean(separations) == pytest.approx(0.5, abs=0.1)
    assert others <= 1


def test_one_actor_and_few_humans_are_indeterminate_in_plain_words() -> None:
    """Ours: what cannot be told is said, not guessed."""
    rng = np.random.default_rng(0)
    alone = _table(list(renewal("solo", rng.exponential(60, 500), ["x"] * 500)))
    found = analyze(alone, None, FAST)
    assert found.actor("solo").verdict == "indeterminate"
    assert any("no labels" in note for note in found.notes)
    short = analyze(_table(list(renewal("brief", np.ones(20), ["x"] * 20))), None, FAST)
    assert short.actor("brief").reason == "20 events are fewer than 100"
    few = analyze(alone, Labels({"solo": "human", "ghost": "human"}, {}), FAST)
    told = "\n".join(few.notes)
    assert "1 labelled actors are not in the log" in told
    assert "1 labelled humans have enough events; 8 are the least" in told


def test_an_analysis_is_the_same_again_and_in_any_order_of_the_file(log: EventTable) -> None:
    """Ours: the seed is explicit and actors are coded by name."""
    rows = np.random.default_rng(0).permutation(len(log))[:20_000]
    events = [log.event(int(i)) for i in rows]
    one, two = _table(events), _table(events[::-1])
    assert result_json(analyze(one, _clerks(one), FAST)) == result_json(
        analyze(replace(two, notes=one.notes), _clerks(two), FAST)
    )


def test_the_tail_is_never_lighter_than_ranks_allow_and_goes_on_beyond_them() -> None:
    """Paper: Knijnenburg and others (2009): of exponential nulls, about exp(-x)."""
    null = np.random.default_rng(0).exponential(1, 60)
    far, middle = np.full(60, 12.0), np.full(60, np.median(null))
    assert tail_p(middle, null) == pytest.approx(0.5, abs=0.05)
    assert tail_p(far, null, tail=False) == pytest.approx(1 / 61)
    assert 1e-5 <= tail_p(far, null) < 1 / 61
