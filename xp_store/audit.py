"""Whether the vector index may answer: it must find what exact search finds, again and again.

An approximate index is quick where vectors cluster, as those of texts do, and loses half of
the neighbors where they do not. Which it is cannot be told beforehand, so the first wide
questions of a tenant are answered exactly and the index is held against that; it serves
once it has shown enough, and every so often it is held against exact search again.
The numbers are ours.
"""

from collections import deque

_FIRST = 8
_WINDOW = 32
_EVERY = 64
_SHARE = 0.985


class Audit:
    """What the index has shown so far, tenant by tenant, in this process."""

    def __init__(self) -> None:
        self._shares: dict[str, deque[float]] = {}
        self._asked: dict[str, int] = {}

    def serves(self, tenant: str) -> bool:
        """Whether the index answers this question; otherwise exact search does."""
        asked = self._asked[tenant] = self._asked.get(tenant, 0) + 1
        shares = self._shares.get(tenant, ())
        return bool(asked % _EVERY) and len(shares) >= _FIRST and self._mean(tenant) >= _SHARE

    def due(self, tenant: str) -> bool:
        """Whether an exact answer is to be held against the index's."""
        return len(self._shares.get(tenant, ())) < _FIRST or not self._asked[tenant] % _EVERY

    def note(self, tenant: str, share: float) -> None:
        """Note the share of the nearest ten that the index found as well."""
        self._shares.setdefault(tenant, deque(maxlen=_WINDOW)).append(share)

    def clear(self) -> None:
        """Begin anew, as after the index was made anew."""
        self._shares.clear()
        self._asked.clear()

    def _mean(self, tenant: str) -> float:
        shares = self._shares[tenant]
        return sum(shares) / len(shares)
