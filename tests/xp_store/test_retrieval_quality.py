"""Whether recall finds what answers a question: each arm, both fused, and chance beside them."""

from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.questions import docstrings, tasks
from benchmarks.recall_quality import Answered, answers, hit_rates, shuffled
from repertory.simulators.statistics import bootstrap
from repertory.xp_store import Floor, HashEmbedder, MiniLM
from repertory.xp_store.floor import floor_of


def mean(rates: Sequence[float]) -> float:
    """The mean over questions."""
    return float(np.mean(rates))


def answered_share(found: Sequence[Answered], floor: Floor, *, known: bool) -> float:
    """How many of the questions of one sort get any answer."""
    some = [each.asked.answered(floor) for each in found if each.asked.known is known]
    return mean(some)


@pytest.mark.model
@pytest.mark.slow
async def test_both_arms_find_docstrings_by_their_first_line_and_chance_does_not() -> None:
    """Ours: text with known answers that nobody tuned on; fused is no worse than either arm."""
    found = await answers(docstrings(stored=120, foreign=60), MiniLM(threads=1))
    rates = {arm: hit_rates(found, arm, 10) for arm in ("vectors", "words", "fused")}
    chance = bootstrap(mean, hit_rates(shuffled(found), "fused", 10))
    for arm, each in rates.items():
        assert bootstrap(mean, each).low > chance.high + 0.3, arm
    assert mean(rates["fused"]) > max(mean(rates["vectors"]), mean(rates["words"])) - 0.05
    floor = floor_of(MiniLM().min_cosine)
    told = answered_share(found, floor, known=True)
    assert told > answered_share(found, floor, known=False) + 0.1


async def test_words_alone_find_tasks_of_the_same_wording() -> None:
    """Ours: without a model's weights the words still carry recall, and chance does not."""
    found = await answers(tasks("held out", each=2, asked=2), HashEmbedder(256))
    same = [each for each in found if each.question.sort == "same words"]
    rates = hit_rates(same, "words", 10)
    assert bootstrap(mean, rates).low > bootstrap(mean, hit_rates(shuffled(same), "words", 10)).high
    assert mean(rates) > 0.6
