from itertools import pairwise, product

import numpy as np
import pytest

from repertory.simulators.peer_review.chain import Chain, fit_chain

NAMES = ("a", "b", "c")
SEQUENCE = [["x", "y"], ["y"], ["x", "z", "unknown"]]


def drawn_chain(seed: int) -> Chain:
    rng = np.random.default_rng(seed)
    return Chain(
        NAMES,
        {"x": 0, "y": 1, "z": 2},
        rng.normal(size=(3, 3)),
        rng.normal(size=(3, 3)),
        rng.normal(size=3),
    )


def score(chain: Chain, path: tuple[int, ...]) -> float:
    total = chain.begin[path[0]]
    for place, label in zip(SEQUENCE, path, strict=True):
        total += sum(chain.weights[chain.features[f], label] for f in place if f in chain.features)
    return float(total + sum(chain.moves[a, b] for a, b in pairwise(path)))


@pytest.mark.parametrize("seed", range(3))
def test_marginals_and_the_best_path_are_those_of_all_paths_enumerated(seed: int) -> None:
    """Paper: Lafferty, McCallum and Pereira 2001; the sums are taken over every path."""
    chain = drawn_chain(seed)
    paths = list(product(range(3), repeat=3))
    mass = np.exp([score(chain, path) for path in paths])
    expected = np.zeros((3, 3))
    for path, weight in zip(paths, mass / mass.sum(), strict=True):
        for place, label in enumerate(path):
            expected[place, label] += weight
    assert chain.marginals(SEQUENCE) == pytest.approx(expected)
    assert chain.best(SEQUENCE) == [NAMES[i] for i in paths[int(mass.argmax())]]


def test_a_fitted_chain_uses_what_stands_before() -> None:
    """Ours: `m` is b after an a and c after a b, which only the moves can tell."""
    sequences = [[["a"], ["m"]], [["b"], ["m"]]] * 8 + [[["a"]], []]
    labels = [["a", "b"], ["b", "c"]] * 8 + [["a"], []]
    chain = fit_chain(sequences, labels, names=NAMES, l2=0.1)
    assert chain.best([["a"], ["m"]]) == ["a", "b"]
    assert chain.best([["b"], ["m"]]) == ["b", "c"]
    assert chain.best([]) == []


def test_the_fit_is_where_the_likelihood_has_no_slope() -> None:
    """Ours: expected counts equal those seen, less the penalty, at every weight that was told."""
    rng = np.random.default_rng(1)
    sequences = [[[f"f{rng.integers(4)}"] for _ in range(n)] for n in (1, 5, 3, 7, 2, 4)]
    labels = [[NAMES[rng.integers(3)] for _ in s] for s in sequences]
    chain = fit_chain(sequences, labels, names=NAMES, l2=0.5, seen_in=1)
    slope = 0.5 * chain.weights
    for sequence, row in zip(sequences, labels, strict=True):
        chances = chain.marginals(sequence)
        for place, label, chance in zip(sequence, row, chances, strict=True):
            truth = np.array([name == label for name in NAMES])
            slope[chain.features[place[0]]] += chance - truth
    assert np.abs(slope).max() < 1e-3


def test_a_chain_is_told_as_json_and_read_again() -> None:
    """Ours: the weights come back to a hundredth, and small ones are left out."""
    chain = drawn_chain(7)
    chain.weights[2] = 0.01
    again = Chain.from_dict(chain.as_dict())
    assert set(again.features) == {"x", "y"}
    assert again.marginals(SEQUENCE[:2]) == pytest.approx(chain.marginals(SEQUENCE[:2]), abs=0.02)
