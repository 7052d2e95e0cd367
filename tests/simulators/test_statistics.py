import math
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repertory.simulators.statistics import (
    Estimate,
    auc,
    benjamini_hochberg,
    bootstrap,
    cliffs_delta,
    correlation,
    paired_difference,
    permutation_p,
    quadratic_weighted_kappa,
    spearman,
    wilson,
)


def test_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    """Paper: Mann and Whitney 1947; three of four pairs, one of them tied."""
    assert auc([1, 1, 0, 0], [3.0, 1.0, 1.0, 0.0]) == pytest.approx(3.5 / 4)
    assert math.isnan(auc([1, 1], [0.1, 0.2]))


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(-5, 5)), min_size=2, max_size=40))
def test_auc_agrees_with_scikit_learn(rows: list[tuple[bool, int]]) -> None:
    """Ours: on any labels and scores, ties included."""
    from sklearn.metrics import roc_auc_score

    labels, scores = [r[0] for r in rows], [r[1] for r in rows]
    if len(set(labels)) == 2:
        assert auc(labels, scores) == pytest.approx(float(roc_auc_score(labels, scores)))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_wilson_interval_covers_the_true_share_as_often_as_it_says(share: float) -> None:
    """Paper: Wilson 1927; 95% within what 2,000 draws can tell."""
    draws = np.random.default_rng(1).binomial(40, share, 2000)
    covered = [wilson(int(k), 40) for k in draws]
    rate = np.mean([e.low <= share <= e.high for e in covered])
    assert 0.925 <= rate <= 0.985


def test_a_share_of_nothing_is_not_told() -> None:
    """Ours: no division by zero, and no interval that pretends."""
    assert math.isnan(wilson(0, 0).value)
    assert wilson(0, 5).low == 0.0
    assert wilson(5, 5).high == 1.0


def test_rows_of_a_group_are_drawn_together() -> None:
    """Ours: ten copies of each row must not narrow the interval."""
    values = np.random.default_rng(2).normal(size=30)
    alone = bootstrap(lambda v: float(v.mean()), values, seed=3)
    copied = np.repeat(values, 10)
    grouped = bootstrap(
        lambda v: float(v.mean()), copied, groups=np.repeat(np.arange(30), 10), seed=3
    )
    naive = bootstrap(lambda v: float(v.mean()), copied, seed=3)
    assert grouped.n == 30
    assert grouped.high - grouped.low == pytest.approx(alone.high - alone.low, rel=0.2)
    assert naive.high - naive.low < 0.5 * (grouped.high - grouped.low)


def test_the_same_seed_gives_the_same_interval() -> None:
    """Ours: a figure can be had again."""
    x = np.arange(20.0)
    y = np.random.default_rng(4).normal(size=20) + x / 10
    assert correlation(x, y, seed=5) == correlation(x, y, seed=5)
    assert correlation(x, y, seed=5) != correlation(x, y, seed=6)


def test_spearman_agrees_with_scipy() -> None:
    """Ours: ties included."""
    from scipy.stats import spearmanr

    rng = np.random.default_rng(6)
    x, y = rng.integers(0, 5, 50), rng.integers(0, 5, 50)
    theirs, _ = cast(tuple[float, float], spearmanr(x, y))
    assert spearman(x, y) == pytest.approx(theirs)
    assert math.isnan(spearman([1, 1, 1], [1, 2, 3]))


def test_a_permutation_p_is_never_zero() -> None:
    """Paper: Phipson and Smyth 2010."""
    assert permutation_p(9.0, np.zeros(99)) == pytest.approx(0.01)
    assert permutation_p(0.0, np.zeros(99)) == 1.0
    assert permutation_p(-9.0, np.zeros(99), tail="less") == pytest.approx(0.01)
    assert permutation_p(-9.0, np.zeros(99), tail="both") == pytest.approx(0.02)


def test_adjusted_p_values_agree_with_scipy_and_keep_gaps() -> None:
    """Paper: Benjamini and Hochberg 1995."""
    from scipy.stats import false_discovery_control

    p = np.array([0.01, 0.04, 0.03, 0.2, 0.5])
    assert benjamini_hochberg(p) == pytest.approx(false_discovery_control(p))
    assert math.isnan(benjamini_hochberg([0.01, float("nan")])[1])


def test_kappa_agrees_with_scikit_learn_and_refuses_unknown_categories() -> None:
    """Paper: Cohen 1968."""
    from sklearn.metrics import cohen_kappa_score

    names = ["reject", "revise", "accept"]
    rng = np.random.default_rng(7)
    a, b = rng.integers(0, 3, 60), rng.integers(0, 3, 60)
    ours = quadratic_weighted_kappa([names[i] for i in a], [names[i] for i in b], names)
    assert ours == pytest.approx(float(cohen_kappa_score(a, b, weights="quadratic")))
    with pytest.raises(ValueError, match="no category 'maybe'"):
        quadratic_weighted_kappa(["maybe"], ["accept"], names)


def test_a_difference_of_pairs_that_is_there_excludes_zero() -> None:
    """Ours: and one that is not there does not."""
    rng = np.random.default_rng(8)
    base = rng.normal(size=80)
    assert paired_difference(base + 0.5 + rng.normal(0, 0.1, 80), base).excludes(0.0)
    assert not paired_difference(base + rng.normal(0, 0.1, 80), base, seed=1).excludes(0.0)


def test_what_cannot_be_told_is_null_in_json() -> None:
    """Ours: NaN is no JSON."""
    assert Estimate(float("nan"), 0.0, 1.0, 3).as_dict()["value"] is None


def test_cliffs_delta_is_one_when_every_value_is_above() -> None:
    """Paper: Cliff 1993."""
    assert cliffs_delta([3, 4], [1, 2]) == 1.0
    assert cliffs_delta([1, 2], [1, 2]) == pytest.approx(0.0)
