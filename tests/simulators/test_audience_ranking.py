"""Planted judges: what is known must come out, and what cannot be known must not."""

from math import log2

import numpy as np
import pytest

from repertory.simulators.audience import Choice, Pair, ScoredBench, all_pairs, rank
from repertory.simulators.audience.bradley_terry import bradley_terry, win_matrix
from repertory.simulators.audience.comparing import (
    Bench,
    consistency,
    first_share,
    rated_pairs,
    sorted_pairs,
)
from repertory.simulators.audience.ranking import cyclic_share, weight_sensitivity
from tests.claims import claim

TEXTS = ["sun", "sun wind", "sun wind rain", "sun wind rain snow", "wind", ""]


class Planted(ScoredBench):
    """A judge without noise whose utility is the number of keywords; it counts what it is asked."""

    def __init__(self, keywords: set[str], texts: list[str]) -> None:
        super().__init__([2.0 * sum(word in keywords for word in text.split()) for text in texts])
        self.asked = 0

    async def compare(self, first: int, second: int) -> Choice:
        self.asked += 1
        gap = self.scores[first] - self.scores[second]
        return Choice("tie" if gap == 0 else "first" if gap > 0 else "second", 1.0)


class AlwaysFirst:
    """A model that likes whatever is shown first."""

    async def compare(self, first: int, second: int) -> Choice:
        return Choice("first")

    async def rate(self, candidate: int) -> float:
        return 4.0


@claim("egs:planted")
async def test_a_planted_utility_is_recovered() -> None:
    """Ours: the candidate with most keywords is first, and the order is that of the utility."""
    bench = Planted({"sun", "wind", "rain", "snow"}, TEXTS)
    ranking = rank([await all_pairs(bench, len(TEXTS))], [1.0], len(TEXTS))
    assert ranking.order[0] == 3
    assert ranking.order[-1] == 5
    assert list(ranking.order[:3]) == [3, 2, 1]
    assert ranking.verdict in ("winner", "tie set")


async def test_pairs_travel_as_lists_and_lose_nothing() -> None:
    """Ours: thousands of them go from an audience to the analyst."""
    for bench in (AlwaysFirst(), Planted({"sun"}, TEXTS)):
        pairs = [*await all_pairs(bench, 4), *await sorted_pairs(bench, 6)]
        assert [Pair.parse(pair.wire()) for pair in pairs] == pairs


async def test_weights_decide_between_audiences_and_reversed_ones_reverse_the_winner() -> None:
    """Ours: two audiences that want the opposite; whoever weighs more has its winner."""
    texts = ["sun sun", "rain rain", "both sun rain", "none"]
    sunny, rainy = Planted({"sun"}, texts), Planted({"rain"}, texts)
    heard = [await all_pairs(bench, 4) for bench in (sunny, rainy)]
    winners = [rank(heard, weights, 4).order[0] for weights in ([0.8, 0.2], [0.2, 0.8])]
    assert winners == [0, 1]


async def test_weights_are_recovered_from_the_overall_scores() -> None:
    """Ours: the overall score is the weighted sum, so regression on the audiences gives the weights."""
    texts = ["sun", "rain", "sun rain", "none", "sun snow rain", "snow"]
    heard = [await all_pairs(Planted(words, texts), 6) for words in ({"sun"}, {"rain", "snow"})]
    ranking = rank(heard, [0.7, 0.3], 6)
    found, *_ = np.linalg.lstsq(ranking.by_audience.T, ranking.overall, rcond=None)
    assert found == pytest.approx([0.7, 0.3])


@claim("egs:position-consistency")
async def test_a_judge_that_always_says_first_gives_no_signal() -> None:
    """Ours: its consistency is 0, every pair a tie, and nobody wins."""
    pairs = await all_pairs(AlwaysFirst(), 5)
    assert consistency(pairs) == 0.0
    assert first_share(pairs) == 1.0
    assert {pair.share for pair in pairs} == {0.5}
    ranking = rank([pairs], [1.0], 5)
    assert ranking.verdict == "no signal"
    assert "the place decided" in ranking.why
    assert len(ranking.ties) == 5


async def test_a_judge_that_rates_everything_the_same_gives_no_signal() -> None:
    """Ours: a model that always answers the same makes no false winner."""
    ratings, pairs = await rated_pairs(AlwaysFirst(), 4)
    assert set(ratings) == {4.0}
    ranking = rank([pairs], [1.0], 4)
    assert (ranking.verdict, ranking.why) == ("no signal", "every candidate was judged the same")


async def test_a_coin_gives_no_winner() -> None:
    """Ours: shuffled answers are at chance, with a quarter of the triples in a circle."""
    rng = np.random.default_rng(3)
    n = 24
    pairs = [
        Pair(a, b, float(rng.integers(0, 2)), 1.0, True) for a in range(n) for b in range(a + 1, n)
    ]
    ranking = rank([pairs], [1.0], n)
    assert ranking.verdict != "winner"
    assert cyclic_share(pairs, n) == pytest.approx(0.25, abs=0.06)


@claim("egs:budget")
@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 13, 32, 33])
async def test_a_budget_of_n_log_n_pairs_finds_the_winner_of_all_pairs(n: int) -> None:
    """Ours: without noise a merge sort finds the same winner and the same order as a round-robin."""
    order = np.random.default_rng(n).permutation(n)
    keywords = {f"w{i}" for i in range(n)}
    texts = [" ".join(f"w{i}" for i in range(k)) for k in order]
    few, every = Planted(keywords, texts), Planted(keywords, texts)
    cheap, full = await sorted_pairs(few, n), await all_pairs(every, n)
    assert few.asked / 2 <= n * log2(n) + 1e-9
    assert every.asked == n * (n - 1)
    assert sum(not pair.inferred for pair in cheap) == few.asked / 2
    assert [(p.a, p.b, p.share) for p in cheap] == [(p.a, p.b, p.share) for p in full]
    if n > 1:
        cheap_rank, full_rank = (rank([pairs], [1.0], n) for pairs in (cheap, full))
        assert cheap_rank.order == full_rank.order


async def test_a_rating_scale_finds_the_planted_utility_too() -> None:
    """Ours: the paper does not say whether it compares or rates, so both are there."""
    bench: Bench = Planted({"sun", "wind", "rain", "snow"}, TEXTS)
    ratings, pairs = await rated_pairs(bench, len(TEXTS))
    assert ratings == [2.0, 4.0, 6.0, 8.0, 2.0, 0.0]
    assert rank([pairs], [1.0], len(TEXTS)).order[0] == 3
    assert np.isnan(consistency(pairs))


def test_bradley_terry_recovers_the_scores_that_made_the_wins() -> None:
    """Paper: Bradley and Terry 1952; with many games the prior does not matter."""
    truth = np.array([1.5, 0.5, 0.0, -2.0])
    chance = 1 / (1 + np.exp(truth[None, :] - truth[:, None]))
    wins = 1e5 * chance
    np.fill_diagonal(wins, 0)
    assert bradley_terry(wins) == pytest.approx(truth, abs=1e-3)


def test_ties_count_half_and_the_prior_keeps_scores_finite() -> None:
    """Ours: a sweep has a finite score, a stranger has 0, a tie is worth as much as one win each."""
    first, second = np.array([0, 0]), np.array([1, 1])
    tied = win_matrix(first, second, np.array([0.5, 0.5]), 3)
    shared = win_matrix(first, second, np.array([1.0, 0.0]), 3)
    assert (tied == shared).all()
    swept = bradley_terry(win_matrix(first, second, np.array([1.0, 1.0]), 3))
    assert np.isfinite(swept).all()
    assert swept[0] > 0 > swept[1]
    assert swept[2] == pytest.approx(0.0)


def test_a_circle_is_counted_and_an_order_has_none() -> None:
    """Ours: a beats b beats c beats a is one circle of one triple."""
    circle = [Pair(0, 1, 1.0), Pair(1, 2, 1.0), Pair(0, 2, 0.0)]
    line = [Pair(0, 1, 1.0), Pair(1, 2, 1.0), Pair(0, 2, 1.0)]
    assert cyclic_share(circle, 3) == 1.0
    assert cyclic_share(line, 3) == 0.0
    assert np.isnan(cyclic_share([Pair(0, 1, 0.5)], 3))


def test_weight_sensitivity_says_who_wins_when_weights_move() -> None:
    """Ours: the weights of the paper were a model's numbers, and nobody varied them."""
    scores = np.array([[1.0, 0.0, -1.0], [-1.0, 0.1, 1.0]])
    found = weight_sensitivity(scores, {"a": 0.6, "b": 0.4})
    assert found["as given"] == 0
    assert found["equal weights"] == 1
    assert found["b 50% more"] == 2 or found["b 50% more"] == 1
    assert set(found) == {
        "as given",
        "equal weights",
        "a 50% more",
        "a 50% less",
        "b 50% more",
        "b 50% less",
    }


async def test_an_unsure_judge_gives_wider_intervals_than_a_sure_one() -> None:
    """Ours: confidence is in the interval, and the order stays."""
    sure = await all_pairs(Planted({"sun", "wind", "rain", "snow"}, TEXTS), 6)
    unsure = [Pair(p.a, p.b, p.share, 0.6 if p.share != 0.5 else 0.5, True) for p in sure]
    a, b = rank([sure], [1.0], 6), rank([unsure], [1.0], 6)
    assert a.order == b.order
    assert (b.high[3] - b.low[3]) / abs(b.overall[3]) > (a.high[3] - a.low[3]) / abs(a.overall[3])
    assert b.verdict != "winner"
