from pathlib import Path

import numpy as np
import pytest

from repertory.simulators import SimulatorInputError
from repertory.simulators.disparity.accounts import (
    SIX,
    AccountModel,
    Accounts,
    load_accounts,
    of_dimensions,
    of_features,
)
from repertory.simulators.disparity.measures import DIMENSIONS
from repertory.simulators.statistics import auc


@pytest.fixture(scope="module")
def split(data_folder: Path) -> tuple[Accounts, Accounts]:
    accounts = load_accounts(data_folder / "rabbit" / "features.csv")
    order = np.random.default_rng(0).permutation(len(accounts.is_bot))
    return accounts.take(order[:600]), accounts.take(order[600:])


def test_real_bots_are_told_from_humans_they_were_not_trained_with(
    split: tuple[Accounts, Accounts],
) -> None:
    """Paper: RABBIT's features: one, six and all of them, each better than the one before."""
    train, test = split
    single = auc(test.is_bot, test.features[:, test.names.index("NAT_mean")])
    few = AccountModel(trees=False).fit(of_features(train, SIX))
    six = auc(test.is_bot, few.scores(of_features(test, SIX)))
    whole = auc(test.is_bot, AccountModel().fit(train).scores(test))
    assert single > 0.83
    assert six > 0.94
    assert whole > 0.96
    assert whole > six > single


def test_shuffled_labels_teach_nothing(split: tuple[Accounts, Accounts]) -> None:
    """Ours: the negative control."""
    train, test = split
    rng = np.random.default_rng(0)
    scores = []
    for _ in range(6):
        shuffled = Accounts(train.names, train.features, rng.permutation(train.is_bot))
        scores.append(auc(test.is_bot, AccountModel(trees=False).fit(shuffled).scores(test)))
    assert np.mean(scores) == pytest.approx(0.5, abs=0.12)


def test_every_feature_has_a_dimension_and_contributions_sum_up(
    split: tuple[Accounts, Accounts],
) -> None:
    """Ours: three dimensions can be told of accounts; plans and choices are not in the data."""
    train, test = split
    sizes = {d: len(train.columns(d)) for d in DIMENSIONS}
    assert sizes[DIMENSIONS[2]] == sizes[DIMENSIONS[4]] == 0
    assert sum(sizes.values()) == len(train.names) == 45
    model = AccountModel(trees=False).fit(train)
    told = model.contributions(test)
    share = model.scores(test)
    total = np.sum(list(told.values()), axis=0)
    odds = np.log(share / (1 - share))
    # What is left is the intercept, the same for all.
    assert np.ptp(odds - total) < 1e-6
    only = of_dimensions(train, (DIMENSIONS[3],))
    assert set(only.names) < set(train.names)


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    """Ours: one sentence that names the file."""
    path = tmp_path / "features.csv"
    path.write_text("feat_NA,label\n3,robot\n", encoding="utf-8")
    with pytest.raises(SimulatorInputError, match="label 'robot' is neither"):
        load_accounts(path)
    path.write_text("feat_NA\n3\n", encoding="utf-8")
    with pytest.raises(SimulatorInputError, match="no table of accounts"):
        load_accounts(path)
