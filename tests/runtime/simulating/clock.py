"""An asyncio loop whose time is counted and not waited for, so that a run is a function of its seed.

The loop's own queue stays first in, first out, as asyncio promises. Chance stands where the
world has it: when a commit, a message or an agent's work comes due is drawn from the seed.
"""

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any


class StuckError(Exception):
    """Nothing is ready and nothing will come due: whoever waits would wait for ever."""


class Clock:
    """Virtual seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self._looks = 0

    def wall(self) -> float:
        """The time of day; no two looks see the same, as on a fine clock."""
        self._looks += 1
        return 1.8e9 + self.now + self._looks * 1e-7


class _Nothing(selectors.SelectSelector):
    """No file ever becomes ready; to wait is to move the clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise StuckError("nothing is ready and nothing will come due")
        self._clock.now += max(0.0, timeout)
        return []


class CountedLoop(asyncio.SelectorEventLoop):
    """An event loop in the time of `clock`."""

    _clock_resolution: float

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        super().__init__(_Nothing(clock))
        # A sum of floats may fall short of what was waited for by a hair.
        self._clock_resolution = 1e-6
        self.set_exception_handler(_raise)

    def time(self) -> float:
        return self._clock.now


def _raise(_: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    raise AssertionError(f"unhandled in a callback: {context}")
