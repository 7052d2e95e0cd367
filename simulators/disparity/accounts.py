"""Accounts told apart by features of their activity, with what each dimension contributes.

The features are RABBIT's and BIMBAS' (45 for a GitHub account); each belongs to one of
the five dimensions by the mapping below, which is ours. Accounts have no plans and no
choices, so two dimensions are empty and said to be. The model is the mean of three: a
logistic regression on logarithms, boosted trees and extremely randomized trees.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from repertory.simulators.errors import SimulatorInputError

from .measures import DIMENSIONS
from .profiles import Counts

DIMENSION_OF: Mapping[str, str] = {
    "feat_NT": DIMENSIONS[0],
    "feat_NR": DIMENSIONS[0],
    "feat_NOR": DIMENSIONS[0],
    "feat_ORR": DIMENSIONS[0],
    "NTR": DIMENSIONS[0],
    "feat_NA": DIMENSIONS[1],
    "DCA": DIMENSIONS[1],
    "DCAR": DIMENSIONS[1],
    "NAR": DIMENSIONS[3],
    "NCAR": DIMENSIONS[3],
    "DAAR": DIMENSIONS[3],
    "DCAT": DIMENSIONS[3],
    "NAT": DIMENSIONS[3],
}
"""A feature's dimension, by its name or its first part: how many kinds of things (decision),
how fast (execution), how much of the same and how slowly changed (inertia)."""

SIX = ("NAT_mean", "feat_NT", "feat_NOR", "DCAT_median", "DCA_median", "NAR_mean")
"""Six features for a plain logistic regression, the yardstick of few features."""


@dataclass(frozen=True)
class Accounts:
    """Features (n, features) with NaN where unknown, and whether each account is a bot (n,)."""

    names: tuple[str, ...]
    features: Counts
    is_bot: Counts

    def columns(self, dimension: str) -> list[int]:
        """Which features belong to a dimension."""
        return [i for i, name in enumerate(self.names) if dimension_of(name) == dimension]

    def take(self, rows: Any) -> "Accounts":
        return Accounts(self.names, self.features[rows], self.is_bot[rows])


def dimension_of(feature: str) -> str:
    """The dimension of a feature; execution efficiency where the mapping does not know it."""
    return DIMENSION_OF.get(feature) or DIMENSION_OF.get(feature.partition("_")[0], DIMENSIONS[1])


def load_accounts(path: Path) -> Accounts:
    """Accounts from CSV: numeric features and a column `label`, bot or human.

    Raises:
        SimulatorInputError: It is no such file.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
        names = tuple(name for name in rows[0] if name != "label")
        features = np.array([[float(row[n]) if row[n] else np.nan for n in names] for row in rows])
        labels = [row["label"].strip().lower() for row in rows]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise SimulatorInputError(
            f"{path}: no table of accounts ({type(error).__name__}: {error}); it is CSV with"
            " numeric features and a column `label`, bot or human",
            file=str(path),
        ) from None
    unknown = set(labels) - {"bot", "human"}
    if unknown:
        raise SimulatorInputError(
            f"{path}: the label {min(unknown)!r} is neither bot nor human", file=str(path)
        )
    return Accounts(names, features, np.array([label == "bot" for label in labels], dtype=float))


class AccountModel:
    """Tells bots from humans; `fit` sees training rows only, also for what it fills gaps with.

    trees: False keeps the logistic regression alone.
    """

    def __init__(self, seed: int = 0, *, trees: bool = True) -> None:
        self._seed = seed
        self._trees = trees
        self._models: list[Any] = []
        self._middle: Counts = np.zeros(0)
        self.names: tuple[str, ...] = ()

    def fit(self, accounts: Accounts) -> "AccountModel":
        """Learn from accounts with labels; gives itself."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        self.names = accounts.names
        known = ~np.isnan(accounts.features).all(axis=0)
        self._middle = np.zeros(len(self.names))
        self._middle[known] = np.nanmedian(accounts.features[:, known], axis=0)
        plain = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=3000))
        self._models = [plain, *(_tree_models(self._seed) if self._trees else ())]
        features = self._prepared(accounts)
        for model in self._models:
            model.fit(features, accounts.is_bot)
        return self

    def scores(self, accounts: Accounts) -> Counts:
        """The probability that each account is a bot: (n,)."""
        features = self._prepared(accounts)
        each = [model.predict_proba(features)[:, 1] for model in self._models]
        return np.asarray(np.mean(each, axis=0))

    def contributions(self, accounts: Accounts) -> dict[str, Counts]:
        """What each dimension adds to the logistic part's log-odds, by account: (n,) each."""
        pipeline = self._models[0]
        weighed = pipeline[0].transform(self._prepared(accounts)) * pipeline[1].coef_[0]
        return {
            dimension: np.asarray(weighed[:, accounts.columns(dimension)].sum(1))
            for dimension in DIMENSIONS
        }

    def _prepared(self, accounts: Accounts) -> Counts:
        if accounts.names != self.names:
            raise SimulatorInputError("the accounts have other features than those of the training")
        filled = np.where(np.isnan(accounts.features), self._middle, accounts.features)
        return np.asarray(np.sign(filled) * np.log10(1 + 1000 * np.abs(filled)))


def _tree_models(seed: int) -> Sequence[Any]:
    from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingClassifier

    boosted = GradientBoostingClassifier(
        n_estimators=200, learning_rate=0.06, subsample=0.7, max_features="sqrt", random_state=seed
    )
    return boosted, ExtraTreesClassifier(200, min_samples_leaf=2, random_state=seed)


def of_dimensions(accounts: Accounts, dimensions: Sequence[str]) -> Accounts:
    """The accounts with the features of some dimensions only."""
    kept = sorted(i for d in dimensions for i in accounts.columns(d))
    names = tuple(accounts.names[i] for i in kept)
    return Accounts(names, accounts.features[:, kept], accounts.is_bot)


def of_features(accounts: Accounts, names: Sequence[str]) -> Accounts:
    """The accounts with the named features only."""
    kept = [accounts.names.index(name) for name in names if name in accounts.names]
    return Accounts(
        tuple(accounts.names[i] for i in kept), accounts.features[:, kept], accounts.is_bot
    )
