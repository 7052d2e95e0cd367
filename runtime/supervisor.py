"""Who is restarted after a crash: OTP's strategies as a pure decision.

Nothing here starts or stops anything; `supervision` carries the verdicts out. The
words are those of Erlang/OTP's `supervisor` behavior.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Literal

Restart = Literal["permanent", "transient", "temporary"]
Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from an exit.

    restart: children to stop (those still running) and start again, in start
    order. down: children that stay down. exhausted: more restarts than the
    intensity allows within the period; nothing is restarted then.
    """

    restart: tuple[str, ...] = ()
    down: tuple[str, ...] = ()
    exhausted: bool = False


class Supervisor:
    """Decide what to do about exits of children, in the order in which they start.

    intensity: restarts allowed within `period` seconds; one more is too many. apart:
    whether each child has an intensity of its own, as under a supervisor of its own.
    """

    def __init__(
        self,
        children: Mapping[str, Restart],
        *,
        strategy: Strategy = "one_for_one",
        intensity: int = 3,
        period: float = 5.0,
        apart: bool = False,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._restart = dict(children)
        self._strategy = strategy
        self._intensity = intensity
        self._period = period
        self._clock = clock
        self._apart = apart
        self._restarts: dict[str, deque[float]] = {}
        self._down: set[str] = set()

    def exited(self, child: str, *, abnormal: bool) -> Verdict:
        """Decide about the exit of `child`."""
        kind = self._restart[child]
        if kind == "temporary" or (kind == "transient" and not abnormal):
            self._down.add(child)
            return Verdict(down=(child,))
        now = self._clock()
        restarts = self._restarts.setdefault(child if self._apart else "", deque())
        restarts.append(now)
        while restarts[0] <= now - self._period:
            restarts.popleft()
        if len(restarts) > self._intensity:
            self._down.add(child)
            return Verdict(down=(child,), exhausted=True)
        return self._affected(child)

    def _affected(self, child: str) -> Verdict:
        order: Sequence[str] = tuple(self._restart)
        if self._strategy == "one_for_one":
            together: Sequence[str] = (child,)
        elif self._strategy == "one_for_all":
            together = order
        else:
            together = order[order.index(child) :]
        # A temporary sibling that is stopped with the others is not started again.
        gone = tuple(
            name
            for name in together
            if name != child and self._restart[name] == "temporary" and name not in self._down
        )
        self._down.update(gone)
        return Verdict(
            restart=tuple(name for name in together if name not in self._down), down=gone
        )
