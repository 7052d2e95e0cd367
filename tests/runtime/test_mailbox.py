"""Order within a context, concurrency across contexts, room for a bounded number."""

import anyio
import pytest
from anyio import fail_after
from anyio.lowlevel import checkpoint

from repertory.protocol import user_message
from repertory.runtime.mailbox import Mailbox
from repertory.runtime.record import TaskRecord


def _record(name: str, context: str, tenant: str = "t") -> TaskRecord:
    return TaskRecord(
        id=name,
        agent="a",
        tenant=tenant,
        principal="p",
        context_id=context,
        message=user_message(name),
    )


async def _put(mailbox: Mailbox, *records: TaskRecord) -> None:
    for record in records:
        await mailbox.wait_for_room()
        mailbox.put(record)


async def test_messages_of_one_context_are_handled_in_order() -> None:
    """Ours: the second of a context starts when the first has ended, others meanwhile."""
    mailbox = Mailbox(10, 4)
    first, second, other = _record("1", "x"), _record("2", "x"), _record("3", "y")
    await _put(mailbox, first, second, other)
    with fail_after(5):
        assert [await mailbox.get(), await mailbox.get()] == [first, other]
        mailbox.done(first)
        assert await mailbox.get() is second


async def test_no_more_contexts_than_the_concurrency_are_worked_on() -> None:
    """Ours: `concurrency` bounds the work, not the waiting."""
    mailbox = Mailbox(10, 2)
    records = [_record(str(n), f"context {n}") for n in range(3)]
    await _put(mailbox, *records)
    with fail_after(5):
        await mailbox.get()
        await mailbox.get()
        with anyio.move_on_after(0.01) as scope:
            await mailbox.get()
        assert scope.cancelled_caught
        mailbox.done(records[0])
        assert await mailbox.get() is records[2]


async def test_a_full_mailbox_makes_senders_wait() -> None:
    """Ours: backpressure instead of growth."""
    mailbox = Mailbox(2, 1)
    await _put(mailbox, _record("1", "x"), _record("2", "y"))
    arrived: list[str] = []

    async def send() -> None:
        await _put(mailbox, _record("3", "z"))
        arrived.append("3")

    with fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(send)
            await anyio.wait_all_tasks_blocked()
            assert arrived == []
            await mailbox.get()
            await anyio.wait_all_tasks_blocked()
            assert arrived == ["3"]


async def test_what_is_taken_out_is_not_handed_out_and_makes_room() -> None:
    """Ours: a task that another process took over waits here no more, nor twice when it is back."""
    mailbox = Mailbox(3, 2)
    first, second, other = _record("1", "x"), _record("2", "x"), _record("3", "y")
    await _put(mailbox, first, second, other)
    with fail_after(5):
        for record in (first, other, other):
            mailbox.take_out(record)
        assert mailbox.depth == 1
        await mailbox.wait_for_room()
        assert await mailbox.get() is second
        assert mailbox.has_placed("2")
        mailbox.put(first)
        mailbox.put_back(other)
        assert await mailbox.get() is other
        mailbox.done(second)
        assert not mailbox.has_placed("2")
        assert await mailbox.get() is first


async def test_a_parked_task_gives_its_place_and_its_context_to_others() -> None:
    """Ours: waiting for a person is not work."""
    mailbox = Mailbox(10, 1)
    asking, next_one = _record("1", "x"), _record("2", "x")
    await _put(mailbox, asking, next_one)
    with fail_after(5):
        assert await mailbox.get() is asking
        mailbox.done(asking)
        assert await mailbox.get() is next_one
        mailbox.done(next_one)
        await mailbox.take_place(asking)
        await _put(mailbox, _record("3", "x"))
        with anyio.move_on_after(0.01) as scope:
            await mailbox.get()
        assert scope.cancelled_caught


async def test_who_looks_for_work_keeps_no_place_from_who_goes_on() -> None:
    """Ours: an answered task goes on although nothing new arrives, and before what is new."""
    mailbox = Mailbox(10, 1)
    asking, other, fresh = _record("1", "x"), _record("2", "y"), _record("3", "z")
    await _put(mailbox, asking)
    order: list[str] = []

    async def look() -> None:
        order.append((await mailbox.get()).id)

    async def go_on(record: TaskRecord) -> None:
        await mailbox.take_place(record)
        order.append(record.id)

    with fail_after(5):
        assert await mailbox.get() is asking
        mailbox.done(asking)
        async with anyio.create_task_group() as group:
            group.start_soon(look)
            await anyio.wait_all_tasks_blocked()
            await go_on(asking)
            group.start_soon(go_on, other)
            await _put(mailbox, fresh)
            await anyio.wait_all_tasks_blocked()
            mailbox.done(asking)
            await anyio.wait_all_tasks_blocked()
            mailbox.done(other)
    assert order == ["1", "2", "3"]


async def test_who_stops_waiting_for_a_place_takes_none_with_it() -> None:
    """Ours: a turn that is canceled while it waits to go on."""
    mailbox = Mailbox(10, 1)
    first, parked, last = _record("1", "x"), _record("2", "y"), _record("3", "z")
    await _put(mailbox, first, last)
    with fail_after(5):
        assert await mailbox.get() is first
        with anyio.move_on_after(0.01):
            await mailbox.take_place(parked)
        mailbox.done(first)
        assert await mailbox.get() is last


async def test_giving_back_a_place_twice_frees_it_once() -> None:
    """Ours: a turn that parks and then ends must not let two others in."""
    mailbox = Mailbox(10, 1)
    await _put(mailbox, *(_record(str(n), str(n)) for n in range(3)))
    with fail_after(5):
        first = await mailbox.get()
        mailbox.done(first)
        mailbox.done(first)
        await mailbox.get()
        with anyio.move_on_after(0.01) as scope:
            await mailbox.get()
        assert scope.cancelled_caught


async def test_a_reader_that_is_cancelled_takes_no_place_with_it() -> None:
    """Ours: cancelling a `get` leaves the mailbox as it was."""
    mailbox = Mailbox(10, 1)
    with anyio.move_on_after(0.01):
        await mailbox.get()
    await checkpoint()
    record = _record("1", "x")
    await _put(mailbox, record)
    with fail_after(5):
        assert await mailbox.get() is record


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_every_message_is_handed_out_exactly_once(concurrency: int) -> None:
    """Ours: nothing is lost between the line and the work."""
    mailbox = Mailbox(100, concurrency)
    records = [_record(str(n), f"context {n % 7}") for n in range(60)]
    await _put(mailbox, *records)
    seen: list[str] = []
    with fail_after(5):
        for _ in records:
            record = await mailbox.get()
            seen.append(record.id)
            mailbox.done(record)
    assert sorted(seen, key=int) == [record.id for record in records]
    for context in range(7):
        mine = [int(name) for name in seen if int(name) % 7 == context]
        assert mine == sorted(mine)


async def test_a_tenant_with_many_waiting_costs_another_one_turn() -> None:
    """Paper: Shreedhar and Varghese 1995, round-robin serves every flow once a round."""
    mailbox = Mailbox(20_000, 1)
    many = [_record(f"many {n}", f"context {n}", tenant="many") for n in range(10_000)]
    await _put(mailbox, *many)
    few = [_record(f"few {n}", f"context {n}", tenant="few") for n in range(3)]
    await _put(mailbox, *few)
    with fail_after(5):
        begun = []
        for _ in range(7):
            begun.append(await mailbox.get())
            mailbox.done(begun[-1])
    assert [each.id for each in begun] == [
        "many 0", "few 0", "many 1", "few 1", "many 2", "few 2", "many 3",
    ]  # fmt: skip


async def test_tenants_take_turns_at_the_door_too() -> None:
    """Ours: senders who wait for room do not shut another tenant out."""
    mailbox = Mailbox(1, 1)
    await _put(mailbox, _record("0", "x", tenant="many"))
    arrived: list[str] = []

    async def send(name: str, tenant: str) -> None:
        await mailbox.wait_for_room(tenant)
        mailbox.put(_record(name, name, tenant=tenant))
        arrived.append(name)

    with fail_after(5):
        async with anyio.create_task_group() as group:
            for name in ("m1", "m2", "m3"):
                group.start_soon(send, name, "many")
            await anyio.wait_all_tasks_blocked()
            group.start_soon(send, "f1", "few")
            await anyio.wait_all_tasks_blocked()
            for _ in range(5):
                mailbox.done(await mailbox.get())
                await anyio.wait_all_tasks_blocked()
    assert arrived == ["m1", "f1", "m2", "m3"]


async def test_a_tenant_that_may_not_begin_is_passed_over_until_it_may() -> None:
    """Ours: a bound on one tenant's work leaves the places to the others."""
    barred = {"one"}
    mailbox = Mailbox(10, 2, may_begin=lambda tenant: tenant not in barred)
    first, second = _record("1", "x", tenant="one"), _record("2", "y", tenant="two")
    await _put(mailbox, first, second)
    with fail_after(5):
        assert await mailbox.get() is second
        async with anyio.create_task_group() as group:

            async def take() -> None:
                assert await mailbox.get() is first

            group.start_soon(take)
            await anyio.wait_all_tasks_blocked()
            barred.clear()
            mailbox.look_again()
