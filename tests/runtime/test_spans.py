import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from anyio import fail_after
from opentelemetry.sdk.trace import TracerProvider
from rich.console import Console

from repertory.runtime.journal import open_journal
from repertory.runtime.spans import SpanRow, SpanStore, load_trace, span_processor
from repertory.runtime.telemetry import Telemetry, open_telemetry
from repertory.runtime.trace_view import render_tree, trace_tree, tree_json
from repertory.xp_store import Database, open_database

TRACE = "a" * 32
PARENT = f"00-{TRACE}-{'b' * 16}-01"


@asynccontextmanager
async def journaled(url: str) -> AsyncIterator[Database]:
    async with open_database(url) as database, open_journal(database):
        yield database


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[tuple[Database, Telemetry]]:
    async with journaled(f"sqlite:///{folder / 'desk.db'}") as database:
        async with open_telemetry(store=SpanStore(database), network="desk") as telemetry:
            yield database, telemetry


def row(
    name: str, span_id: str, parent_id: str = "", *, start: int = 0, **facts: object
) -> SpanRow:
    """A finished span of one trace, a millisecond long, starting at `start` milliseconds."""
    end = facts.pop("end", start + 1)
    return SpanRow(
        trace_id=TRACE,
        span_id=span_id,
        parent_id=parent_id,
        name=name,
        kind="INTERNAL",
        start_ns=start * 1_000_000,
        end_ns=None if end is None else int(str(end)) * 1_000_000,
        status="UNSET",
        attributes=facts,
    )


def drawn(rows: list[SpanRow]) -> str:
    console = Console(width=100, no_color=True, force_terminal=False)
    with console.capture() as capture:
        console.print(render_tree(trace_tree(rows)))
    return capture.get()


async def test_the_spans_of_a_task_are_read_back_with_all_below_them(tmp_path: Path) -> None:
    """Ours: also those of the peers that it asked, and none of its neighbors'."""
    with fail_after(5):
        async with journaled(f"sqlite:///{tmp_path / 'desk.db'}") as database:
            async with open_telemetry(store=SpanStore(database)) as telemetry:
                whole = telemetry.workflow("inbox", parent="")
                mine = telemetry.agent("intake", parent=whole.traceparent, task_id="t1")
                other = telemetry.agent("intake", parent=whole.traceparent, task_id="t2")
                tool = telemetry.tool("ledger.post", parent=mine.traceparent)
                asked = telemetry.a2a("SendMessage", server=False, parent=mine.traceparent)
                peer = telemetry.agent("checker", parent=asked.traceparent, task_id="t3")
                chat = telemetry.chat("smol", parent=peer.traceparent)
                for span in (chat, peer, asked, tool, other, mine, whole):
                    span.end()
            names = [span.name for span in await load_trace(database, task_id="t1")]
            assert sorted(names) == [
                "SendMessage",
                "chat smol",
                "execute_tool ledger.post",
                "invoke_agent checker",
                "invoke_agent intake",
            ]
            trace_id = f"{whole.trace_id:032x}"
            assert len(await load_trace(database, trace_id=trace_id)) == 7
            assert await load_trace(database, task_id="nobody's") == []


async def test_a_store_that_never_kept_a_span_has_no_trace() -> None:
    """Ours: `telemetry.spans: false` is no error for whoever asks."""
    with fail_after(5):
        async with journaled("sqlite:///:memory:") as database:
            assert await load_trace(database, task_id="t1") == []


async def test_a_running_turn_is_seen_before_it_ends_and_once_after(tmp_path: Path) -> None:
    """Ours: what a kill cuts off is still in the tree, as unfinished."""
    with fail_after(5):
        async with journaled(f"sqlite:///{tmp_path / 'desk.db'}") as database:
            store = SpanStore(database)
            telemetry = Telemetry(store=store)
            turn = telemetry.agent("intake", parent=PARENT, task_id="t1")
            await store.flush()
            (running,) = await load_trace(database, task_id="t1")
            assert (running.end_ns, trace_tree([running]).children[0].finished) == (None, False)
            turn.usage(input_tokens=3)
            turn.end()
            await store.flush()
            (ended,) = await load_trace(database, task_id="t1")
            assert ended.end_ns == turn.end_ns
            assert ended.attributes["gen_ai.usage.input_tokens"] == 3


async def test_a_resumed_turn_stands_beside_the_broken_one_in_the_same_trace(
    tmp_path: Path,
) -> None:
    """Ours: one unbroken trace across a resume; both runs of the turn are shown."""
    url = f"sqlite:///{tmp_path / 'desk.db'}"
    with fail_after(5):
        async with journaled(url) as database:
            store = SpanStore(database)
            broken = Telemetry(store=store).agent("intake", parent=PARENT, task_id="t1")
            Telemetry(store=store).tool("ledger.find", parent=broken.traceparent).end()
            await store.flush()
        async with journaled(url) as database:
            async with open_telemetry(store=SpanStore(database)) as telemetry:
                telemetry.agent(
                    "intake", parent=PARENT, task_id="t1", resumes=broken.traceparent
                ).end()
            rows = await load_trace(database, task_id="t1")
    assert {span.trace_id for span in rows} == {TRACE}
    text = drawn(list(rows))
    assert text.count("invoke_agent intake") == 2
    assert "unfinished" in text
    assert "resumed" in text


async def test_adding_never_waits_and_a_full_queue_drops_and_counts() -> None:
    """Ours: telemetry never slows a network down; what is lost is counted."""
    with fail_after(5):
        async with journaled("sqlite:///:memory:") as database:
            store = SpanStore(database, queue_size=2)
            telemetry = Telemetry(store=store)
            for _ in range(5):
                telemetry.tool("x.y", parent=PARENT).end()
            assert store.dropped == 3
            await store.aclose()
            assert len(await load_trace(database, trace_id=TRACE)) == 2
            telemetry.tool("x.y", parent=PARENT).end()
            assert store.dropped == 4


async def test_the_table_keeps_the_newest_rows_only() -> None:
    """Ours: a store that runs for months does not grow for ever."""
    with fail_after(5):
        async with journaled("sqlite:///:memory:") as database:
            store = SpanStore(database, keep=10)
            for number in range(40):
                store.add(row(f"span {number}", f"{number:016x}", start=number))
                await store.flush()
            kept = [span.name for span in await load_trace(database, trace_id=TRACE)]
    assert kept[-1] == "span 39"
    assert 10 <= len(kept) < 40


async def test_a_database_that_refuses_costs_the_spans_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Ours: a full disk stops no agent for the sake of its telemetry."""
    async with journaled("sqlite:///:memory:") as database:
        store = SpanStore(database)
        await database.transact(lambda connection: connection.execute("DROP TABLE span"))
        store.add(row("lost", "1" * 16))
        with fail_after(5):
            await store.flush()
    assert store.dropped == 1
    assert "1 spans were not kept" in caplog.text


async def test_a_users_own_provider_can_feed_the_store_too() -> None:
    """Spec: OpenTelemetry's SpanProcessor; a program that wants all its spans in one place."""
    with fail_after(5):
        async with journaled("sqlite:///:memory:") as database:
            store = SpanStore(database)
            provider = TracerProvider(shutdown_on_exit=False)
            provider.add_span_processor(span_processor(store))
            with provider.get_tracer("the user's").start_as_current_span("request") as span:
                span.set_attribute("a2a.task.id", "t1")
            assert provider.force_flush() is False
            await store.flush()
            assert provider.force_flush() is True
            provider.shutdown()
            (kept,) = await load_trace(database, task_id="t1")
    assert (kept.name, kept.kind, kept.parent_id) == ("request", "INTERNAL", "")


async def test_spans_of_a_users_provider_are_kept_by_the_network_that_made_them() -> None:
    """Ours: two networks on one provider do not see each other's spans in their stores."""
    provider = TracerProvider(shutdown_on_exit=False)
    with fail_after(5):
        async with (
            journaled("sqlite:///:memory:") as one,
            journaled("sqlite:///:memory:") as two,
        ):
            async with (
                open_telemetry(store=SpanStore(one), tracer_provider=provider) as first,
                open_telemetry(store=SpanStore(two), tracer_provider=provider) as second,
            ):
                first.agent("a", parent=PARENT).end()
                second.agent("b", parent=PARENT).end()
            kept = [
                [span.name for span in await load_trace(database, trace_id=TRACE)]
                for database in (one, two)
            ]
    assert kept == [["invoke_agent a"], ["invoke_agent b"]]


async def test_an_error_of_the_block_leaves_it_as_itself_and_its_spans_are_kept(
    tmp_path: Path,
) -> None:
    """Ours: a network that fails is the one whose trace is wanted."""
    url = f"sqlite:///{tmp_path / 'desk.db'}"

    async def fail() -> None:
        async with opened(tmp_path) as (_, telemetry):
            with telemetry.tool("x.y", parent=PARENT):
                raise LookupError("mine")

    with fail_after(5):
        with pytest.raises(LookupError, match="mine"):
            await fail()
        async with journaled(url) as database:
            (kept,) = await load_trace(database, trace_id=TRACE)
    assert kept.attributes["error.type"] == "LookupError"


def test_a_tree_shows_names_milliseconds_tokens_and_errors() -> None:
    """Ours: what `repertory trace TASK` shows a person."""
    text = drawn(
        [
            row("invoke_agent intake", "1" * 16, start=0, end=100),
            row(
                "chat smol",
                "2" * 16,
                "1" * 16,
                start=10,
                end=60,
                **{"gen_ai.usage.input_tokens": 1200, "gen_ai.usage.output_tokens": 34},
            ),
            row(
                "execute_tool ledger.post",
                "3" * 16,
                "1" * 16,
                start=70,
                end=80,
                **{"error.type": "TOOL_SERVER_FAILED", "error.message": "exit status 7"},
            ),
        ]
    )
    lines = text.splitlines()
    assert [line.split("  ")[0].strip() for line in lines[1:4]] == [
        "invoke_agent intake",
        "├ chat smol",
        "└ execute_tool ledger.post",
    ]
    assert "1,200→34" in lines[1]
    assert "50.0" in lines[2]
    assert "TOOL_SERVER_FAILED: exit status 7" in text
    assert lines[1].count("━") == 24
    assert "100.0" in lines[-1]


def test_a_tree_as_json_nests_spans_and_says_what_did_not_finish() -> None:
    """Ours: `repertory trace TASK --json`."""
    tree = tree_json(
        trace_tree(
            [
                row("outer", "1" * 16, start=0, end=None),
                row("inner", "2" * 16, "1" * 16, start=5, end=9),
                row("stray", "3" * 16, "9" * 16, start=7, end=8),
            ]
        )
    )
    assert json.loads(json.dumps(tree)) == tree
    outer, stray = tree["spans"]
    assert (outer["name"], outer["finished"], outer["milliseconds"]) == ("outer", False, 9.0)
    assert [span["name"] for span in outer["spans"]] == ["inner"]
    assert (stray["name"], stray["parentId"]) == ("stray", "9" * 16)


def test_a_trace_as_deep_as_a_chain_of_calls_can_be_is_drawn() -> None:
    """Ours: a tree is built without recursion, and no spans are no error."""
    rows = [row(f"s{n}", f"{n:016x}", f"{n - 1:016x}" if n > 1 else "") for n in range(1, 3000)]
    tree = trace_tree(rows)
    assert tree.children[0].name == "s1"
    assert "no spans" in drawn([])
