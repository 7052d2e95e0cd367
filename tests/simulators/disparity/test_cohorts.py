import numpy as np

from repertory.simulators.disparity.cohorts import compare_cohorts
from repertory.simulators.disparity.events import EventColumns
from repertory.simulators.disparity.measures import Values, measures_of
from repertory.simulators.disparity.profiles import block_weights, profiles_of
from repertory.simulators.disparity.synthetic import Office, office


def _measured() -> list[Values]:
    columns = EventColumns()
    columns.extend(office(Office(clerks=40, automata=0, events=16_000)))
    profiles = profiles_of(columns.table())
    return [measures_of(profiles, i, block_weights(0, 0)) for i in range(40)]


def test_two_halves_of_one_cohort_differ_in_no_dimension() -> None:
    """Ours: in at least 95 % of random halves, within the error of 200 of them."""
    measured, rng = _measured(), np.random.default_rng(0)
    roles = [str(i % 4) for i in range(40)]
    calm = 0
    for seed in range(200):
        first = rng.permutation(np.arange(40) < 20)
        found = compare_cohorts(measured, roles, list(first), permutations=199, seed=seed)
        assert len(found) == 3
        calm += all(d.adjusted > 0.05 for d in found)
    assert calm / 200 >= 0.92


def test_a_cohort_that_is_slower_is_found_in_its_dimension() -> None:
    """Ours: eight times the median gap in half of the cohort, and nothing else."""
    measured = _measured()
    first = [i // 4 % 2 == 0 for i in range(40)]
    for i in np.flatnonzero(first):
        measured[i] = {**measured[i], "median_gap": measured[i]["median_gap"] * 8}
    found = {
        d.dimension: d for d in compare_cohorts(measured, [str(i % 4) for i in range(40)], first)
    }
    assert found["execution efficiency"].adjusted <= 0.05
    assert found["execution efficiency"].measure == "median_gap"
    assert found["behavioral inertia"].adjusted > 0.05
