"""How alike two sentences are, by the pieces of their words.

TF-IDF over pieces of 3 to 5 letters with sublinear counts and smoothed document frequencies,
as scikit-learn's `char_wb` vectorizer has it. Written out here because importing that library
takes longer than reviewing a manuscript does.
"""

import math
from collections import Counter
from collections.abc import Sequence

_PIECES = (3, 4, 5)


def likeness(texts: Sequence[str], others: Sequence[str]) -> list[list[float]]:
    """The cosine of each of `texts` with each of `others`: len(texts) rows of len(others)."""
    counted = [_pieces(text) for text in (*texts, *others)]
    seen = Counter(piece for counts in counted for piece in counts)
    total = len(counted)
    weighted = [
        _unit(
            {
                p: (1 + math.log(n)) * (1 + math.log((1 + total) / (1 + seen[p])))
                for p, n in c.items()
            }
        )
        for c in counted
    ]
    left, right = weighted[: len(texts)], weighted[len(texts) :]
    return [[_product(a, b) for b in right] for a in left]


def _pieces(text: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for word in text.lower().split():
        padded = f" {word} "
        for size in _PIECES:
            counts[padded[:size]] += 1
            for start in range(1, len(padded) - size + 1):
                counts[padded[start : start + size]] += 1
            if size >= len(padded):
                break
    return counts


def _unit(vector: dict[str, float]) -> dict[str, float]:
    length = math.sqrt(sum(value * value for value in vector.values())) or 1.0
    return {piece: value / length for piece, value in vector.items()}


def _product(a: dict[str, float], b: dict[str, float]) -> float:
    if len(b) < len(a):
        a, b = b, a
    return sum(value * b[piece] for piece, value in a.items() if piece in b)
