import numpy as np
import pytest

from repertory.simulators import SimulatorInputError
from repertory.simulators.peer_review.rating import fit_rating
from repertory.simulators.statistics import spearman


def made(n: int, seed: int) -> tuple[list[str], list[float]]:
    rng = np.random.default_rng(seed)
    ratings = rng.uniform(1, 10, n)
    texts = [
        " ".join(["strong"] * round(r) + ["weak"] * round(10 - r) + ["paper"] * 5) for r in ratings
    ]
    return texts, list(ratings)


def test_a_rule_orders_reviews_by_words_that_go_with_ratings() -> None:
    """Ours: on texts whose words follow their ratings it follows them on others."""
    rule = fit_rating(*made(60, 0))
    texts, ratings = made(30, 1)
    assert spearman(rule.rate(texts), ratings) > 0.95


def test_a_rule_fitted_to_shuffled_ratings_knows_nothing() -> None:
    """Ours: the control of the benchmark."""
    texts, ratings = made(60, 0)
    rng = np.random.default_rng(2)
    held, truth = made(60, 1)
    found = [
        spearman(fit_rating(texts, list(rng.permutation(ratings))).rate(held), truth)
        for _ in range(12)
    ]
    assert abs(float(np.mean(np.sign(found)))) < 0.9


def test_a_rule_needs_reviews_of_different_ratings() -> None:
    """Ours: equal ratings order nothing."""
    texts, _ = made(30, 0)
    with pytest.raises(SimulatorInputError, match="at least 20 reviews of different ratings"):
        fit_rating(texts, [5.0] * 30)
    with pytest.raises(SimulatorInputError, match="there are 2"):
        fit_rating(texts[:2], [1.0, 2.0])
