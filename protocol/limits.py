"""Bounds on what a stranger may make a listener do: bytes, depth, batches, rates, and at once."""

import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Final

import orjson

from .errors import BusyError, InvalidParamsError

_ESCAPED: Final = re.compile(rb"\\.", re.DOTALL)
_STRING: Final = re.compile(rb'"[^"]*"')
_NO_MARKS: Final = bytes(set(range(256)) - set(b'[]{}"'))
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_MOST_CALLERS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Limits:
    """What one listener lets in; a caller is a principal, or an address before it has one.

    body: bytes of a request. body_seconds: how long it may take to arrive. depth:
    brackets within brackets. batch: requests in one body. rate, burst: requests a
    second of one caller, None for no bound, and how many may come together.
    at_once: requests and streams of one caller in flight; all_at_once: of all.
    failures: wrong credentials of one address a minute.
    """

    body: int = 4 * 1024 * 1024
    body_seconds: float = 30.0
    depth: int = 64
    batch: int = 16
    rate: float | None = None
    burst: int = 200
    at_once: int = 1024
    all_at_once: int = 8192
    failures: int = 30


def require_shallow(body: bytes, limits: Limits) -> None:
    """Return when the JSON in `body` is neither too deep nor too large a batch.

    Raises:
        InvalidParamsError: It is; what is no JSON at all is the parser's to refuse.
    """
    if body.count(b"[") + body.count(b"{") > limits.depth and _depth_above(body, limits.depth):
        raise InvalidParamsError(
            f"the body has more than {limits.depth} brackets within each other", depth=limits.depth
        )
    if body.lstrip()[:1] == b"[":
        try:
            batch = orjson.loads(body)
        except orjson.JSONDecodeError:
            return
        if len(batch) > limits.batch:
            raise InvalidParamsError(
                f"the body holds {len(batch)} requests; at most {limits.batch} may come together",
                batch=limits.batch,
            )


def _depth_above(body: bytes, depth: int) -> bool:
    """Whether brackets nest deeper than `depth`; each round takes the innermost pairs away."""
    marks = _ESCAPED.sub(b"", body) if b"\\" in body else body
    marks = _STRING.sub(b"", marks.translate(_ONE_KIND, _NO_MARKS))
    for _ in range(depth):
        if not marks:
            return False
        marks = marks.replace(b"[]", b"")
    return bool(marks)


class Rates:
    """A token bucket for each caller; those seen least recently are forgotten."""

    def __init__(
        self, rate: float, burst: float, *, clock: Callable[[], float] = monotonic
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> None:
        """Spend one of the caller's requests.

        Raises:
            BusyError: None is left; `retry_after` says when there will be one.
        """
        left = self._left(caller)
        if left < 1.0:
            raise BusyError(
                f"more than {self._rate:g} requests a second; wait and try again",
                retry_after=round((1.0 - left) / self._rate, 3),
            )
        self._put(caller, left - 1.0)

    def exhausted(self, caller: str) -> bool:
        """Whether nothing is left, without spending."""
        return self._left(caller) < 1.0

    def _left(self, caller: str) -> float:
        left, at = self._buckets.get(caller, (self._burst, self._clock()))
        return min(self._burst, left + (self._clock() - at) * self._rate)

    def _put(self, caller: str, left: float) -> None:
        self._buckets[caller] = (left, self._clock())
        self._buckets.move_to_end(caller)
        if len(self._buckets) > _MOST_CALLERS:
            self._buckets.popitem(last=False)
