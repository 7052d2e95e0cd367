"""F6 and F7: clients that go away in mid-stream, and a wire that doubles, loses, tears and delays."""

import json
from collections import Counter, defaultdict
from typing import Any

import anyio

from repertory.protocol import Call, Link, follow, open_link

from .client import HEADERS, Client, open_client
from .fault import Bench, Fault, Outcome, doses
from .proxy import Trick, open_proxy
from .serving import Served, kind

_REPORTS = 20
_AT_ONCE = 10
_CONTEXTS = 48
_PATIENCE = 60.0
TRICKS: dict[Trick, float] = {
    "": 0.4,
    "duplicate": 0.3,
    "delay": 0.15,
    "lose": 0.06,
    "tear": 0.04,
    "half-close": 0.02,
    "drip": 0.01,
    "cut": 0.02,
}


async def leave_streams(bench: Bench) -> Outcome:
    """F6: half of the clients leave A2A's own stream, half that of the binding, some twice."""
    outcome = Outcome(dose=f"{bench.dose} clients that leave in mid-stream")
    reporter = kind("Reporter", concurrency=_AT_ONCE)
    async with (
        Served(bench, "streaming", {"reporter": reporter}) as served,
        open_client(served.url) as client,
    ):
        await served.start()
        async with open_link(f"{served.url}/agents/reporter/mcp") as link:
            limiter = anyio.CapacityLimiter(_AT_ONCE)

            async def one(number: int) -> None:
                async with limiter:
                    await _leave(bench, client, link, number, outcome)

            async with anyio.create_task_group() as group:
                for number in range(bench.dose):
                    group.start_soon(one, number)
    outcome.note = f"{_REPORTS + 3} events each; every one was read once and in order"
    return outcome


async def _leave(bench: Bench, client: Client, link: Link, number: int, outcome: Outcome) -> None:
    """Begin a task, leave its stream somewhere, come back once or twice, and read to its end."""
    name = f"s{number}"
    data = {"reports": _REPORTS, "pause": 0.02}
    leave = bench.dice.randint(1, _REPORTS)
    if number % 2:
        task_id, seen = await _stream(client, name, data, leave)
    else:
        task_id, seen = (await client.send("reporter", name, data))["id"], []
    outcome.accepted += 1
    if not number % 2 or bench.dice.random() < 0.5:
        seen += await _follow(link, task_id, len(seen), leave)
    with anyio.move_on_after(_PATIENCE):
        seen += await _follow(link, task_id, len(seen), None)
        wanted = [f"{name}/{report}" for report in range(_REPORTS)]
        told = [words for words in seen if "/" in words]
        outcome.lost += [f"event {words} was never seen" for words in wanted if words not in told]
        outcome.repeated += [
            f"event {w} was seen {n} times" for w, n in Counter(told).items() if n > 1
        ]
        if sorted(told, key=lambda words: int(words.partition("/")[2])) != told:
            outcome.broken.append(f"the events of {name} came as {told}")
        if seen[-1] != "COMPLETED":
            outcome.stuck.append(f"{name} ended its stream with {seen[-1]}")
        return
    outcome.stuck.append(f"{name} had not ended after {_PATIENCE:g} s")


async def _stream(
    client: Client, name: str, data: dict[str, Any], leave: int
) -> tuple[str, list[str]]:
    """A2A's message:stream, left without a word after `leave` events."""
    message = {"messageId": name, "role": "ROLE_USER", "parts": [{"data": {"id": name, **data}}]}
    seen: list[str] = []
    task_id = ""
    async with client.session.post(
        client.place("reporter", "message:stream"), json={"message": message}, headers=HEADERS
    ) as response:
        async for line in response.content:
            if not line.startswith(b"data:"):
                continue
            event = json.loads(line.removeprefix(b"data:"))
            task_id = task_id or event["task"]["id"]
            seen.append(_words(event))
            if len(seen) >= leave:
                break
        response.close()
    return task_id, seen


async def _follow(link: Link, task_id: str, after: int, leave: int | None) -> list[str]:
    """The events after the `after`-th, or `leave` of them."""
    seen: list[str] = []
    events = follow(link, task_id, Call(), after_sequence=after)
    try:
        async for numbered in events:
            if numbered.sequence != after + len(seen) + 1:
                seen.append(f"gap/{numbered.sequence}")
            seen.append(_words(numbered.event.wire()))
            if leave is not None and len(seen) >= leave:
                break
    finally:
        await events.aclose()  # type: ignore[attr-defined]  # an async generator is one
    return seen


def _words(event: dict[str, Any]) -> str:
    status = (event.get("statusUpdate") or event.get("task") or {}).get("status", {})
    state = str(status.get("state", "")).removeprefix("TASK_STATE_")
    parts = (status.get("message") or {}).get("parts") or [{}]
    return state if state != "WORKING" else str(parts[0].get("text", state))


async def trouble_wire(bench: Bench) -> Outcome:
    """F7: every message goes through a proxy that plays tricks; contexts send one after the other."""
    outcome = Outcome(dose=f"{bench.dose} messages, 30% of them doubled")
    counter = kind("Thinker", model="count", concurrency=64, mailbox=512)
    models = {"count": {"engine": "function", "function": "clerks:count"}}
    sent: dict[str, list[str]] = defaultdict(list)
    accepted: dict[str, str] = {}
    numbers = iter(range(bench.dose))
    async with Served(bench, "troubled", {"counter": counter}, models=models) as served:
        await served.start()
        async with (
            open_proxy(served.port, bench.dice, TRICKS) as proxy,
            open_client(proxy.url, patience=20.0) as client,
            anyio.create_task_group() as group,
        ):

            async def send(context: str) -> None:
                for number in numbers:
                    name = f"m{number}"
                    sent[context].append(name)
                    task = await client.send("counter", name, {}, context=context)
                    outcome.accepted += 1
                    if (number + 1) % max(1, bench.dose // 4) == 0:
                        bench.say(f"{number + 1} of {bench.dose} messages")
                    accepted[name] = task["id"]

            for sender in range(_CONTEXTS):
                group.start_soon(send, f"c{sender}")
        async with open_client(served.url) as straight:
            states = await straight.states("counter", accepted, {"COMPLETED"}, patience=_PATIENCE)
        effects = (served.folder / "effects.txt").read_text().split()
        if damage := bench.store.damage(served.store_url):
            outcome.broken.append(f"the store says {damage}")
    happened = Counter(effects)
    outcome.lost += [f"{name} never happened" for name in accepted if not happened[name]]
    outcome.repeated += [f"{name} happened {n} times" for name, n in happened.items() if n > 1]
    outcome.stuck += [f"{name} is {s or 'gone'}" for name, s in states.items() if s != "COMPLETED"]
    place = {name: number for number, name in enumerate(effects)}
    for context, names in sent.items():
        order = [place[name] for name in names if name in place]
        if order != sorted(order):
            outcome.broken.append(f"the messages of context {context} were worked on out of order")
    played = ", ".join(f"{n} {trick}" for trick, n in sorted(proxy.played.items()) if trick)
    outcome.note = f"{proxy.played.total()} requests: {played}"
    return outcome


FAULTS = (
    Fault(
        "F6",
        "clients that go away",
        "clients break off in the middle of a stream, come back and read on",
        doses(100, 1000, 6),
        leave_streams,
    ),
    Fault(
        "F7",
        "a wire that doubles, loses, tears and delays",
        "a proxy doubles, delays (and so reorders), tears, half-closes, drips and cuts requests and"
        " loses answers",
        doses(10_000, 100_000, 200),
        trouble_wire,
        shared=True,
    ),
)
