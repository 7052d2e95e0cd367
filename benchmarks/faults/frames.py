"""F8: frames that nobody would write, for every decoder, and for the doors of a served network."""

import gc
from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from time import monotonic
from typing import Any

import anyio
import orjson
from aiohttp import ClientSession, ClientTimeout

from repertory.protocol import (
    AgentCard,
    Call,
    Identity,
    Message,
    RepertoryError,
    SendMessageRequest,
    StreamResponse,
    Task,
    call_from_meta,
    error_from_wire,
)
from repertory.runtime import parse_manifest

from .fault import Bench, Fault, Outcome, doses
from .processes import resident_bytes
from .serving import Served, kind

_GROWTH = 50e6
_HANG_SECONDS = 5.0
_AT_ONCE = 32
_ODD = (
    b"null", b"true", b"-1", b"0", b"1e999", b"-0.0", b"99999999999999999999999", b'""',
    b'"\\ud800"', b'"\\u0000"', b"[]", b"{}", b"NaN", b"\xff\xfe", b"\x00", b'{"a":' * 30, b"[" * 300,
)  # fmt: skip

_MESSAGE = {
    "messageId": "m-1",
    "contextId": "c-1",
    "role": "ROLE_USER",
    "parts": [{"text": "hello"}, {"data": {"a": [1, 2.5, None]}}, {"raw": "aGVsbG8=", "mediaType": "text/plain"}],
    "metadata": {"k": "v"},
}  # fmt: skip
_TASK = {
    "id": "t-1",
    "contextId": "c-1",
    "status": {"state": "TASK_STATE_WORKING", "timestamp": "2026-01-02T03:04:05.678Z"},
    "artifacts": [{"artifactId": "a", "name": "n", "parts": [{"text": "x"}]}],
    "history": [_MESSAGE],
}
_UPDATE = {"taskId": "t-1", "contextId": "c-1", "status": _TASK["status"], "metadata": {"a": 1}}
_CARD = {
    "name": "clerk",
    "description": "does",
    "version": "1",
    "supportedInterfaces": [{"url": "https://x.example", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}],
    "capabilities": {"streaming": True},
    "defaultInputModes": ["text/plain"],
    "defaultOutputModes": ["text/plain"],
    "skills": [{"id": "s", "name": "s", "description": "s", "tags": ["t"]}],
}  # fmt: skip
_MANIFEST = b"""network: desk
agents:
  clerk: {kind: worker, instructions: "read", concurrency: 2, peers: [other]}
  other: {url: "http://127.0.0.1:1/agents/other/mcp"}
supervision: {intensity: 3, period: 5.0}
"""

Decoder = tuple[str, bytes, Callable[[bytes], Any], int]


def _meta(text: bytes) -> None:
    meta = orjson.loads(text)
    if isinstance(meta, dict):
        call_from_meta(meta, Identity("p", "t"))


def _error(text: bytes) -> None:
    told = orjson.loads(text)
    if isinstance(told, list) and len(told) == 3:
        error_from_wire(*told)


def _decoders() -> list[Decoder]:
    """Name, a sound frame, the decoder, and by how much its dose is divided."""
    from repertory.protocol import call_meta  # the sound frame is made by its own writer

    meta = call_meta(Call(chain=("a/b",), traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01"))
    return [
        ("Message", orjson.dumps(_MESSAGE), Message.parse, 1),
        ("Task", orjson.dumps(_TASK), Task.parse, 1),
        ("StreamResponse", orjson.dumps({"statusUpdate": _UPDATE}), StreamResponse.parse, 1),
        ("SendMessageRequest", orjson.dumps({"message": _MESSAGE}), SendMessageRequest.parse, 1),
        ("AgentCard", orjson.dumps(_CARD), AgentCard.parse, 1),
        ("call_from_meta", orjson.dumps(meta), _meta, 1),
        (
            "error_from_wire",
            orjson.dumps([-32001, "no", [{"reason": "TASK_NOT_FOUND"}]]),
            _error,
            1,
        ),
        # YAML is read a hundred times slower.
        ("manifest", _MANIFEST, lambda text: parse_manifest(text.decode("utf-8")), 20),
    ]


def spoiled(frame: bytes, dice: Random) -> bytes:
    """A sound frame with one to four things done to it."""
    for _ in range(dice.randint(1, 4)):
        at, to = sorted((dice.randrange(len(frame) + 1), dice.randrange(len(frame) + 1)))
        match dice.randrange(7):
            case 0:
                frame = frame[:at] + bytes([dice.randrange(256)]) + frame[at + 1 :]
            case 1:
                frame = frame[:at] + frame[min(to, at + 12) :]
            case 2:
                frame = frame[:at] + frame[at:to] * 2 + frame[to:]
            case 3:
                frame = frame[:at]
            case 4:
                frame = frame[:at] + dice.choice(_ODD) + frame[at:]
            case _:
                frame = _replaced(frame, dice)
        frame = frame[:60_000] or b"{"
    return frame


def _replaced(frame: bytes, dice: Random) -> bytes:
    """Another value in the place of one after a colon or a comma."""
    places = [n + 1 for n, letter in enumerate(frame) if letter in b":,["]
    if not places:
        return frame
    at = dice.choice(places)
    end = min((n for n in (frame.find(c, at) for c in (b",", b"}", b"]")) if n >= 0), default=at)
    return frame[:at] + dice.choice(_ODD) + frame[end:]


async def spoil_frames(bench: Bench) -> Outcome:
    """Feed every decoder, then the doors of a real process."""
    outcome = Outcome()
    decoders, doors = _decoders(), _doors()
    outcome.dose = (
        f"{bench.dose} frames for each of {len(decoders)} decoders and {len(doors)} doors"
    )
    gc.collect()
    before, slowest = resident_bytes_here(), 0.0
    refused: Counter[str] = Counter()
    for name, frame, decode, part in decoders:
        for _ in range(bench.dose // part):
            given = spoiled(frame, bench.dice)
            began = monotonic()
            try:
                decode(given)
            except (RepertoryError, orjson.JSONDecodeError, UnicodeDecodeError) as error:
                refused[type(error).__name__] += 1
            except Exception as error:  # noqa: BLE001 - that is what is looked for
                if len(outcome.broken) < 20:
                    outcome.broken.append(
                        f"{name}: {type(error).__name__}: {error} for {given[:200]!r}"
                    )
            slowest = max(slowest, monotonic() - began)
    gc.collect()
    grown = resident_bytes_here() - before
    bench.say(f"decoders: {refused.total()} refused, slowest {slowest:.2f} s, {grown / 1e6:.1f} MB")
    if grown > _GROWTH:
        outcome.broken.append(f"the decoders grew by {grown / 1e6:.0f} MB")
    if slowest > _HANG_SECONDS:
        outcome.broken.append(f"a frame kept its decoder for {slowest:.1f} s")
    answers, more = await _knock(bench, doors, outcome)
    outcome.note = (
        f"memory +{max(0.0, grown) / 1e6:.0f} MB here, {more / 1e6:+.0f} MB in the served process;"
        f" answers {', '.join(f'{n} of {s}' for s, n in sorted(answers.items()))}"
    )
    return outcome


def resident_bytes_here() -> int:
    """The resident memory of this process."""
    import os

    return resident_bytes(os.getpid())


def _doors() -> list[tuple[str, bytes, Mapping[str, str]]]:
    message = {"message": _MESSAGE, "configuration": {"returnImmediately": True}}
    rpc = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": message}
    mcp = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": {}}}
    kinds = {"A2A-Version": "1.0", "Content-Type": "application/json"}
    both = {**kinds, "Accept": "application/json, text/event-stream"}
    return [
        ("rest/message:send", orjson.dumps(message), kinds),
        ("jsonrpc", orjson.dumps(rpc), kinds),
        ("mcp", orjson.dumps(mcp), both),
    ]


async def _knock(
    bench: Bench, doors: list[tuple[str, bytes, Mapping[str, str]]], outcome: Outcome
) -> tuple[Counter[str], float]:
    """Post spoiled frames; the answers by hundreds, and by how much the process grew."""
    answers: Counter[str] = Counter()
    sink = kind("Sink", mailbox=100_000)
    async with Served(bench, "spoiled", {"sink": sink}) as served:
        await served.start()
        assert served.life is not None
        timeout = ClientTimeout(total=20.0)
        async with ClientSession(timeout=timeout) as session:
            limiter = anyio.CapacityLimiter(_AT_ONCE)

            async def post(place: str, frame: bytes, headers: Mapping[str, str]) -> None:
                async with limiter:
                    url = f"{served.url}/agents/sink/{place}"
                    async with session.post(url, data=frame, headers=headers) as response:
                        await response.read()
                    answers[f"{response.status // 100}xx"] += 1
                    outcome.accepted += response.status == 200 and place.startswith("rest")
                    if response.status >= 500 and len(outcome.broken) < 20:
                        outcome.broken.append(
                            f"{place} answered {response.status} to {frame[:200]!r}"
                        )

            # Warm first, so that what is loaded once is not taken for growth.
            for place, frame, headers in doors:
                for _ in range(50):
                    await post(place, spoiled(frame, bench.dice), headers)
            before = resident_bytes(served.life.pid)
            for place, frame, headers in doors:
                async with anyio.create_task_group() as group:
                    for _ in range(bench.dose):
                        group.start_soon(post, place, spoiled(frame, bench.dice), headers)
        grown = resident_bytes(served.life.pid) - before
        await served.wait_ready()
        if "Traceback" in served.life.words():
            outcome.broken.append(f"the process printed a traceback: {served.life.words()[-400:]}")
    if grown > _GROWTH:
        outcome.broken.append(f"the served process grew by {grown / 1e6:.0f} MB")
    return answers, grown


FAULTS = (
    Fault(
        "F8",
        "malformed frames",
        "sound frames with bytes flipped, cut, doubled, nested and replaced",
        doses(10_000, 200_000, 200),
        spoil_frames,
        stores=("sqlite",),
    ),
)
