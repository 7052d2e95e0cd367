"""A linear-chain conditional random field (Lafferty, McCallum and Pereira 2001) over sparse features.

Small on purpose: a few labels, a few hundred sequences, L2, L-BFGS. Its weights are
numbers by name, so a fitted chain is a JSON file that anyone can read.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Features = Sequence[Sequence[str]]

_ITERATIONS = 120
# Features whose every weight is below it are not told: they say next to nothing.
_SMALLEST = 0.05


@dataclass(frozen=True)
class Chain:
    """A fitted chain. weights: (features, labels); moves: (labels, labels), from row to column.

    begin: (labels,), the score of beginning with each label.
    """

    labels: tuple[str, ...]
    features: Mapping[str, int]
    weights: Floats
    moves: Floats
    begin: Floats

    def marginals(self, sequence: Features) -> Floats:
        """P(label) of every place of `sequence`, shape (places, labels), by forward-backward."""
        if not sequence:
            return np.zeros((0, len(self.labels)))
        scores = _matrix([sequence], self.features) @ self.weights
        emitted = scores[None, :, :]
        forward, backward, total = _passes(
            emitted, np.array([len(sequence)]), self.moves, self.begin
        )
        found: Floats = np.exp(forward[0] + backward[0] - total[0])
        return found

    def best(self, sequence: Features) -> list[str]:
        """The likeliest labels of `sequence` as a whole (Viterbi)."""
        if not sequence:
            return []
        scores = _matrix([sequence], self.features) @ self.weights
        score = self.begin + scores[0]
        came: list[npt.NDArray[np.intp]] = []
        for row in scores[1:]:
            options = score[:, None] + self.moves
            came.append(options.argmax(0))
            score = options.max(0) + row
        path = [int(score.argmax())]
        for pointers in reversed(came):
            path.append(int(pointers[path[-1]]))
        return [self.labels[i] for i in reversed(path)]

    def as_dict(self) -> dict[str, Any]:
        """The chain as JSON. weights: of each feature by label, in hundredths; all-small ones are left out."""
        return {
            "labels": list(self.labels),
            "begin": [round(float(v), 3) for v in self.begin],
            "moves": [[round(float(v), 3) for v in row] for row in self.moves],
            "weights": {
                name: [round(100 * float(v)) for v in self.weights[i]]
                for name, i in sorted(self.features.items())
                if np.abs(self.weights[i]).max() >= _SMALLEST
            },
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> "Chain":
        """The chain that `as_dict` told, but for its rounding."""
        names = list(told["weights"])
        rows = np.array([told["weights"][name] for name in names], dtype=float) / 100
        return cls(
            labels=tuple(told["labels"]),
            features={name: i for i, name in enumerate(names)},
            weights=rows.reshape(len(names), len(told["labels"])),
            moves=np.array(told["moves"], dtype=float),
            begin=np.array(told["begin"], dtype=float),
        )


def fit_chain(
    sequences: Sequence[Features],
    labels: Sequence[Sequence[str]],
    *,
    names: Sequence[str],
    l2: float = 1.0,
    seen_in: int = 4,
) -> Chain:
    """Fit a chain by penalized likelihood.

    labels: of every place of every sequence, each one of `names`. l2: the penalty on
    squared weights, halved. seen_in: features of fewer sequences are left out.
    """
    from scipy.optimize import minimize

    longest = sorted(
        (i for i, s in enumerate(sequences) if s), key=lambda i: len(sequences[i]), reverse=True
    )
    sequences = [sequences[i] for i in longest]
    labels = [labels[i] for i in longest]
    seen = Counter(f for s in sequences for f in {f for place in s for f in place})
    features = {f: i for i, f in enumerate(sorted(f for f, n in seen.items() if n >= seen_in))}
    x = _matrix(sequences, features)
    lengths = np.array([len(s) for s in sequences])
    order = {name: i for i, name in enumerate(names)}
    y = np.array([order[label] for row in labels for label in row])
    problem = _Problem(x, lengths, y, len(names), l2)
    found = minimize(
        problem.loss,
        np.zeros(problem.size),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _ITERATIONS},
    )
    weights, moves, begin = problem.unpacked(found.x)
    return Chain(tuple(names), features, weights, moves, begin)


class _Problem:
    """The penalized negative log-likelihood and its gradient, over all sequences at once."""

    def __init__(
        self, x: Any, lengths: npt.NDArray[np.intp], y: npt.NDArray[np.intp], k: int, l2: float
    ) -> None:
        self.x, self.lengths, self.k, self.l2 = x, lengths, k, l2
        self.inside = np.arange(lengths.max(initial=0))[None, :] < lengths[:, None]
        self.size = x.shape[1] * k + k * k + k
        truth = np.zeros((x.shape[0], k))
        truth[np.arange(len(y)), y] = 1
        self.counts = x.T @ truth
        padded = np.zeros((*self.inside.shape, k))
        padded[self.inside] = truth
        self.pairs = np.einsum("bti,btj->ij", padded[:, :-1], padded[:, 1:])
        self.firsts = padded[:, 0].sum(0)

    def unpacked(self, flat: Floats) -> tuple[Floats, Floats, Floats]:
        k, n = self.k, self.x.shape[1]
        return (
            flat[: n * k].reshape(n, k),
            flat[n * k : n * k + k * k].reshape(k, k),
            flat[n * k + k * k :],
        )

    def loss(self, flat: Floats) -> tuple[float, Floats]:
        weights, moves, begin = self.unpacked(flat)
        scores = self.x @ weights
        emitted = np.zeros((*self.inside.shape, self.k))
        emitted[self.inside] = scores
        forward, backward, total = _passes(emitted, self.lengths, moves, begin)
        marginals = np.exp((forward + backward - total[:, None, None])[self.inside])
        expected = self._pairs(emitted, forward, backward, total, moves)
        first = np.exp(forward[:, 0] + backward[:, 0] - total[:, None]).sum(0)
        gold = (self.counts * weights).sum() + (self.pairs * moves).sum() + self.firsts @ begin
        value = total.sum() - gold + self.l2 * float(flat @ flat) / 2
        gradient = np.concatenate(
            [
                (self.x.T @ marginals - self.counts).ravel(),
                (expected - self.pairs).ravel(),
                first - self.firsts,
            ]
        )
        return float(value), gradient + self.l2 * flat

    def _pairs(
        self, emitted: Floats, forward: Floats, backward: Floats, total: Floats, moves: Floats
    ) -> Floats:
        """The expected number of moves between each two labels."""
        inside = self.inside[:, 1:]
        before = (forward[:, :-1] - total[:, None, None])[inside]
        after = (emitted[:, 1:] + backward[:, 1:])[inside]
        found: Floats = np.exp(before[:, :, None] + moves + after[:, None, :]).sum(0)
        return found


def _passes(
    emitted: Floats, lengths: npt.NDArray[np.intp], moves: Floats, begin: Floats
) -> tuple[Floats, Floats, Floats]:
    """Forward and backward log-scores, (sequences, places, labels), and log Z of each sequence.

    The sequences lie longest first, so those that still go on at a place are a prefix.
    """
    batch, places, _ = emitted.shape
    forward = np.zeros_like(emitted)
    backward = np.zeros_like(emitted)
    forward[:, 0] = begin + emitted[:, 0]
    going = (lengths[:, None] > np.arange(places)[None, :]).sum(0)
    for t in range(1, places):
        n = going[t]
        forward[:n, t] = _logsumexp(forward[:n, t - 1, :, None] + moves, 1) + emitted[:n, t]
    for t in range(places - 2, -1, -1):
        n = going[t + 1]
        onward = emitted[:n, t + 1] + backward[:n, t + 1]
        backward[:n, t] = _logsumexp(moves + onward[:, None, :], 2)
    last = forward[np.arange(batch), lengths - 1]
    return forward, backward, _logsumexp(last, 1)


def _logsumexp(values: Floats, axis: int) -> Floats:
    top = values.max(axis=axis, keepdims=True)
    found: Floats = np.log(np.exp(values - top).sum(axis=axis)) + top.squeeze(axis)
    return found


def _matrix(sequences: Iterable[Features], features: Mapping[str, int]) -> Any:
    """The places of all sequences as rows of 0 and 1 over the known features."""
    from scipy.sparse import csr_matrix

    columns: list[int] = []
    ends = [0]
    for sequence in sequences:
        for place in sequence:
            columns += sorted({features[f] for f in place if f in features})
            ends.append(len(columns))
    data = np.ones(len(columns))
    return csr_matrix((data, columns, ends), shape=(len(ends) - 1, len(features)))
