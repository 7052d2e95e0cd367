"""Which of an agent's tasks works now: order within a context, turns among tenants.

A mailbox holds a bounded number of waiting tasks; a sender waits for room. Tasks
of one context start in the order of their acceptance, the next when the one
before has ended or is parked (waiting for a person). Tenants take turns, both at
the places of work and at the door, so that what one of them has waiting costs
another at most one turn. A parked task gives its place of work to others and
takes one again when it goes on.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Generic, TypeVar

import anyio

from .record import TaskRecord

Context = tuple[str, str, str]
Item = TypeVar("Item")
# The share of a newly seen interval in the running mean of them.
_FRESH = 0.2
_SHORTEST, _LONGEST = 0.1, 60.0


def context_of(record: TaskRecord) -> Context:
    """The dialogue that a task is part of: its tasks are worked on one after the other."""
    return (record.tenant, record.principal, record.context_id)


class Turns(Generic[Item]):
    """A queue in which tenants take turns; what one tenant puts in stays in order.

    Round-robin with a quantum of one item (Shreedhar and Varghese, Efficient Fair
    Queuing using Deficit Round Robin, 1995, for items of equal size).
    """

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[Item]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def put(self, tenant: str, item: Item) -> None:
        """Let `item` wait behind everything of its tenant."""
        self._lines.setdefault(tenant, deque()).append(item)
        self._length += 1

    def take(self, allowed: Callable[[str], bool] = lambda tenant: True) -> Item | None:
        """The next item of the first allowed tenant, who then waits behind the others."""
        tenant = next(filter(allowed, self._lines), None)
        if tenant is None:
            return None
        line = self._lines[tenant]
        item = line.popleft()
        self._length -= 1
        if line:
            self._lines.move_to_end(tenant)
        else:
            del self._lines[tenant]
        return item

    def remove(self, tenant: str, item: Item) -> None:
        """Take out an item that no longer waits."""
        line = self._lines[tenant]
        line.remove(item)
        self._length -= 1
        if not line:
            del self._lines[tenant]

    def clear(self) -> None:
        """Take out everything."""
        self._lines.clear()
        self._length = 0


class Mailbox:
    """The waiting room of one agent.

    size: how many tasks may wait, and how many senders may wait for room beside
    them. concurrency: how many work at once. may_begin: whether a task of this
    tenant may begin now; call `look_again` when that changes.
    """

    def __init__(
        self,
        size: int,
        concurrency: int,
        *,
        may_begin: Callable[[str], bool] = lambda tenant: True,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.size = size
        self._promised = 0
        self._senders: Turns[anyio.Event] = Turns()
        self._concurrency = concurrency
        self._free = concurrency
        self._returning: deque[anyio.Event] = deque()
        self._waiting: dict[Context, deque[TaskRecord]] = {}
        self._busy: Counter[Context] = Counter()
        self._placed: set[str] = set()
        self._lent: set[str] = set()
        self._ready: Turns[Context] = Turns()
        self._announced: set[Context] = set()
        self._arrived: anyio.Event | None = None
        self._may_begin = may_begin
        self._clock = clock
        self._taken_at: float | None = None
        self._interval = 0.0
        self.depth = 0

    def begin_anew(self, records: Iterable[TaskRecord] = ()) -> None:
        """Forget who waits and works, and let `records` wait, as for an agent that starts anew.

        They may be more than the size; senders wait until there is room again.
        """
        for _ in self._placed:
            self._release()
        self._waiting.clear()
        self._ready.clear()
        self._announced.clear()
        self._busy.clear()
        self._placed.clear()
        self._lent.clear()
        self.depth = 0
        for record in records:
            self._line_up(record)
        self._let_senders_in()

    @property
    def unused(self) -> bool:
        """Whether nothing waits, works or is on its way here, so that it can be made anew."""
        return not (
            self.depth
            or self._promised
            or self._placed
            or self._lent
            or self._senders
            or self._returning
        )

    @property
    def crowded(self) -> bool:
        """Whether as many senders wait for room as may."""
        return len(self._senders) >= self.size

    def retry_after(self) -> float:
        """In about how many seconds a place comes free, from how fast tasks have begun lately."""
        ahead = 1 + len(self._senders)
        return round(min(_LONGEST, max(_SHORTEST, self._interval * ahead)), 3)

    async def wait_for_room(self, tenant: str = "") -> None:
        """Be promised one place of the waiting room, in turn; `put` uses it."""
        if self.depth + self._promised < self.size and not self._senders:
            self._promised += 1
            return
        called = anyio.Event()
        self._senders.put(tenant, called)
        try:
            await called.wait()
        except BaseException:
            if called.is_set():
                self.give_back_room()
            else:
                self._senders.remove(tenant, called)
            raise

    @property
    def free_places(self) -> int:
        """How many more tasks could be at work at once than work or wait now."""
        return self._concurrency - len(self._placed) - self.depth - self._promised

    def give_back_room(self) -> None:
        """Return the promise of a message that was not put after all."""
        self._promised -= 1
        self._let_senders_in()

    def put(self, record: TaskRecord) -> None:
        """Let an accepted task wait; its place was promised by `wait_for_room`."""
        self._promised -= 1
        self._line_up(record)

    def put_back(self, record: TaskRecord) -> None:
        """Let a task wait that was taken before and did not work; it needs no promise."""
        self._line_up(record)

    def take_out(self, record: TaskRecord) -> None:
        """Let a task wait no more, if it waits."""
        context = context_of(record)
        waiting = self._waiting.get(context)
        if waiting is None or record not in waiting:
            return
        waiting.remove(record)
        self.depth -= 1
        if not waiting:
            del self._waiting[context]
            if context in self._announced:
                self._announced.remove(context)
                self._ready.remove(context[0], context)
        self._let_senders_in()

    def has_placed(self, task_id: str) -> bool:
        """Whether a task has a place of work."""
        return task_id in self._placed or task_id in self._lent

    def _line_up(self, record: TaskRecord) -> None:
        context = context_of(record)
        self._waiting.setdefault(context, deque()).append(record)
        self.depth += 1
        self._announce(context)

    def _let_senders_in(self) -> None:
        while self._senders and self.depth + self._promised < self.size:
            called = self._senders.take()
            assert called is not None, "somebody waits"
            self._promised += 1
            called.set()

    async def get(self) -> TaskRecord:
        """The next task whose context is free, with a place of work taken for it."""
        # A place is taken with the task and never before it, so that none stands idle.
        while not self._free or (context := self._ready.take(self._may_begin)) is None:
            if self._arrived is None:
                self._arrived = anyio.Event()
            await self._arrived.wait()
        self._free -= 1
        self._announced.discard(context)
        self._busy[context] += 1
        record = self._waiting[context].popleft()
        if not self._waiting[context]:
            del self._waiting[context]
        self.depth -= 1
        self._measure()
        self._let_senders_in()
        self._placed.add(record.id)
        return record

    def _measure(self) -> None:
        now = self._clock()
        if self._taken_at is not None:
            self._interval += _FRESH * (now - self._taken_at - self._interval)
        self._taken_at = now

    def done(self, record: TaskRecord) -> None:
        """Give back the place of work, if it is held, and let the context's next task start."""
        if record.id in self._placed:
            self._placed.remove(record.id)
            self._busy[context_of(record)] -= 1
            self._announce(context_of(record))
            self._release()

    def lend_place(self, record: TaskRecord) -> None:
        """Let others have the place of work of a task that waits, and keep its context to it."""
        if record.id in self._placed:
            self._placed.remove(record.id)
            self._lent.add(record.id)
            self._release()

    async def take_place_back(self, record: TaskRecord) -> None:
        """Take a place of work again for a task whose own was lent."""
        if self._free:
            self._free -= 1
        else:
            await self._wait_for_place()
        self._lent.discard(record.id)
        self._placed.add(record.id)

    async def take_place(self, record: TaskRecord) -> None:
        """Take a place of work again for a task that had given its own away with `done`."""
        if self._free:
            self._free -= 1
        else:
            await self._wait_for_place()
        self._placed.add(record.id)
        self._busy[context_of(record)] += 1

    async def _wait_for_place(self) -> None:
        given = anyio.Event()
        self._returning.append(given)
        try:
            await given.wait()
        except BaseException:
            if given.is_set():
                self._release()
            else:
                self._returning.remove(given)
            raise

    def _release(self) -> None:
        """Give a place to the first who returns, or leave it free."""
        if self._returning:
            self._returning.popleft().set()
        else:
            self._free += 1
            self.look_again()

    def look_again(self) -> None:
        """Let `get` ask anew whether a waiting tenant may begin."""
        if self._arrived is not None:
            self._arrived.set()
            self._arrived = None

    def _announce(self, context: Context) -> None:
        if self._busy[context] <= 0:
            del self._busy[context]
        if (
            context in self._waiting
            and context not in self._busy
            and context not in self._announced
        ):
            self._announced.add(context)
            self._ready.put(context[0], context)
            self.look_again()
