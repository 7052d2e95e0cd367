"""AG2's network hub on SQLite, message by message: `PYTHON benchmarks/ag2_hub.py FOLDER MESSAGES`.

Run by `journal.py` with an interpreter that has AG2, which shares no environment with us.
One agent sends texts of a thousand letters to another in one channel, each when the one
before it was received. Prints the seconds of each message as JSON.
"""

import asyncio
import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

BODY = "x" * 1000


async def run(folder: Path, messages: int) -> list[float]:
    """Send so many messages; the seconds that each took."""
    ag2: Any = import_module("ag2")
    network: Any = import_module("ag2.network")
    knowledge: Any = import_module("ag2.knowledge")
    handlers: Any = import_module("ag2.network.client.handlers")
    rules: Any = import_module("ag2.network.rule")
    store = knowledge.SqliteKnowledgeStore(folder / "hub.db")
    hub = await network.Hub.open(store, ttl_sweep_interval=0)
    # A recipient that answers nothing is refused after so many; it is to be measured beyond.
    inbox = rules.InboxBlock(max_pending=10 * messages)
    rule = rules.Rule(limits=rules.LimitsBlock(inbox=inbox))
    sender = await hub.register(ag2.Agent("sender"), rule=rule)
    receiver = await hub.register(ag2.Agent("receiver"), rule=rule)
    arrived = asyncio.Event()

    async def receive(envelope: Any, client: Any = receiver) -> None:
        if envelope.event_type == network.EV_TEXT:
            arrived.set()
        else:
            await handlers.default_handler(envelope, client)

    receiver.on_envelope(receive)
    channel = await sender.open(type="conversation", target="receiver")
    seconds = []
    for _ in range(messages):
        arrived.clear()
        began = time.perf_counter()
        await channel.send(BODY, audience=[receiver.agent_id])
        await arrived.wait()
        seconds.append(time.perf_counter() - began)
    await hub.close()
    return seconds


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2])))))
