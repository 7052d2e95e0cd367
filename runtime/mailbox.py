"""Which of an agent's tasks works now: order within a context, concurrency across contexts.

A mailbox holds a bounded number of waiting tasks; a sender waits for room. Tasks
of one context start in the order of their acceptance, the next when the one
before has ended or is parked (waiting for a person). A parked task gives its
place of work to others and takes one again when it goes on.
"""

from collections import Counter, deque
from collections.abc import Iterable

import anyio

from .record import TaskRecord

Context = tuple[str, str, str]


def _context_of(record: TaskRecord) -> Context:
    return (record.tenant, record.principal, record.context_id)


class Mailbox:
    """The waiting room of one agent.

    size: how many tasks may wait. concurrency: how many work at once.
    """

    def __init__(self, size: int, concurrency: int) -> None:
        self.size = size
        self._promised = 0
        self._senders: deque[anyio.Event] = deque()
        self._places = anyio.Semaphore(concurrency)
        self._waiting: dict[Context, deque[TaskRecord]] = {}
        self._busy: Counter[Context] = Counter()
        self._placed: set[str] = set()
        self._ready: deque[Context] = deque()
        self._arrived: anyio.Event | None = None
        self.depth = 0

    def begin_anew(self, records: Iterable[TaskRecord] = ()) -> None:
        """Forget who waits and works, and let `records` wait, as for an agent that starts anew.

        They may be more than the size; senders wait until there is room again.
        """
        for _ in self._placed:
            self._places.release()
        self._waiting.clear()
        self._ready.clear()
        self._busy.clear()
        self._placed.clear()
        self.depth = 0
        for record in records:
            self._line_up(record)
        self._let_senders_in()

    async def wait_for_room(self) -> None:
        """Be promised one place of the waiting room, in turn; `put` uses it."""
        if self.depth + self._promised < self.size and not self._senders:
            self._promised += 1
            return
        called = anyio.Event()
        self._senders.append(called)
        try:
            await called.wait()
        except BaseException:
            if called.is_set():
                self.give_back_room()
            else:
                self._senders.remove(called)
            raise

    def give_back_room(self) -> None:
        """Return the promise of a message that was not put after all."""
        self._promised -= 1
        self._let_senders_in()

    def put(self, record: TaskRecord) -> None:
        """Let an accepted task wait; its place was promised by `wait_for_room`."""
        self._promised -= 1
        self._line_up(record)

    def _line_up(self, record: TaskRecord) -> None:
        context = _context_of(record)
        self._waiting.setdefault(context, deque()).append(record)
        self.depth += 1
        self._announce(context)

    def _let_senders_in(self) -> None:
        while self._senders and self.depth + self._promised < self.size:
            self._promised += 1
            self._senders.popleft().set()

    async def get(self) -> TaskRecord:
        """The next task whose context is free, with a place of work taken for it."""
        await self._places.acquire()
        try:
            while not self._ready:
                if self._arrived is None:
                    self._arrived = anyio.Event()
                await self._arrived.wait()
        except BaseException:
            self._places.release()
            raise
        context = self._ready.popleft()
        self._busy[context] += 1
        record = self._waiting[context].popleft()
        if not self._waiting[context]:
            del self._waiting[context]
        self.depth -= 1
        self._let_senders_in()
        self._placed.add(record.id)
        return record

    def done(self, record: TaskRecord) -> None:
        """Give back the place of work, if it is held, and let the context's next task start."""
        if record.id in self._placed:
            self._placed.remove(record.id)
            self._places.release()
            self._busy[_context_of(record)] -= 1
            self._announce(_context_of(record))

    async def take_place(self, record: TaskRecord) -> None:
        """Take a place of work again for a task that had given its own away with `done`."""
        await self._places.acquire()
        self._placed.add(record.id)
        self._busy[_context_of(record)] += 1

    def _announce(self, context: Context) -> None:
        if self._busy[context] <= 0:
            del self._busy[context]
        if context in self._waiting and context not in self._busy and context not in self._ready:
            self._ready.append(context)
            if self._arrived is not None:
                self._arrived.set()
                self._arrived = None
