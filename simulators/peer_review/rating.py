"""A rating from the words of a review: what a reader would guess who sees no form.

Ridge regression (Hoerl and Kennard 1970) over TF-IDF of the words. It is fitted where
ratings are known, and it can only say again what reviews of that kind say.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from repertory.simulators import SimulatorInputError

from .chain import Floats

_RIDGE = 1.0
_SEEN_IN = 3
_FEWEST = 20


class RatingRule:
    """A fitted rule; `rate` gives higher numbers for reviews of papers that fare better."""

    def __init__(self, words: Any, ridge: Any) -> None:
        self._words = words
        self._ridge = ridge

    def rate(self, reviews: Sequence[str]) -> Floats:
        """One number a review; they order reviews and are on no scale of their own."""
        rated: Floats = np.asarray(self._ridge.predict(self._words.transform(reviews)), dtype=float)
        return rated


def fit_rating(
    reviews: Sequence[str], ratings: Sequence[float], *, own: Sequence[float] | None = None
) -> RatingRule:
    """Fit a rule to `ratings` of the papers by people.

    own: what each review's author gave; its words follow that more closely than the
    papers' ratings, so the sum of both, each in standard deviations, is the better target.

    Raises:
        SimulatorInputError: There are too few reviews, or their ratings do not differ.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import Ridge

    target = np.asarray(ratings, dtype=float)
    if len(reviews) < _FEWEST or target.std() == 0:
        raise SimulatorInputError(
            f"a rating rule is fitted on at least {_FEWEST} reviews of different ratings;"
            f" there are {len(reviews)}"
        )
    target = _standard(target)
    if own is not None:
        target = target + _standard(np.asarray(own, dtype=float))
    words = TfidfVectorizer(min_df=_SEEN_IN, sublinear_tf=True)
    return RatingRule(words, Ridge(alpha=_RIDGE).fit(words.fit_transform(reviews), target))


def _standard(values: Floats) -> Floats:
    spread = float(values.std())
    return (values - values.mean()) / spread if spread > 0 else np.zeros_like(values)
