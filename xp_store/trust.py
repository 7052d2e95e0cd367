"""Trust: a Beta posterior that only verdicts of admitted checks move, and that age wears away.

With prior (a0, b0) and half-life h, a verdict of age t counts 2^(-t/h), so the
posterior mean is (a0 + passed) / (a0 + b0 + passed + failed) with aged counts, and
returns to the prior when nothing is checked any more. The form is Josang and Ismail's
beta reputation with forgetting; the half-life and the cap are ours. A model's opinion
is counted beside the checks: it may lower trust, and raise it to a cap at most.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from .tables import Pack


@dataclass(frozen=True, slots=True)
class TrustRule:
    """Where trust begins, how fast evidence ages, and how far opinions reach.

    half_life_days: after this time a verdict counts half. opinion_weight: what one
    opinion counts beside a verdict's 1. opinion_cap: opinions lift no mean above it.
    """

    prior: tuple[float, float] = (1.0, 1.0)
    half_life_days: float = 180.0
    opinion_weight: float = 0.2
    opinion_cap: float = 0.6

    def kept(self, since: datetime | None, now: datetime) -> float:
        """The share of evidence of `since` that counts `now`."""
        if since is None or now <= since:
            return 1.0
        return float(2.0 ** (-((now - since) / timedelta(days=self.half_life_days))))

    def aged(
        self, counts: tuple[float, float], since: datetime | None, now: datetime
    ) -> tuple[float, float]:
        """Beta(a, b) of `since` as it stands `now`: what exceeds the prior decays."""
        kept = self.kept(since, now)
        a0, b0 = self.prior
        return a0 + (counts[0] - a0) * kept, b0 + (counts[1] - b0) * kept

    def mean(
        self, counts: tuple[float, float], opinions: tuple[float, float] = (0.0, 0.0)
    ) -> float:
        """The posterior mean: checks by themselves, opinions within their cap."""
        a, b = counts
        checked = a / (a + b)
        said = (a + opinions[0]) / (a + b + opinions[0] + opinions[1])
        return said if said <= checked else max(checked, min(said, self.opinion_cap))

    def of(self, pack: Pack, now: datetime) -> float:
        """How far `pack` is trusted `now`, in [0, 1]."""
        kept = self.kept(pack.trust_at, now)
        counts = self.aged((pack.trust_a, pack.trust_b), pack.trust_at, now)
        return self.mean(counts, (pack.opinion_a * kept, pack.opinion_b * kept))
