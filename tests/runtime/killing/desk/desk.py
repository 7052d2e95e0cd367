"""A desk, a reader and a bookkeeper, and the script that stands for the reader's model.

Every call of the model is written to `calls.txt` when it begins and when it ends, outside
of all that the runtime keeps, so that a driver can tell afterwards what was paid for twice.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from anyio import sleep

from repertory.agents import Agent, ChatMessage, ChatRequest, Question, Tier, Turn
from repertory.protocol import Artifact, Part, Task, TaskState, new_id

CALLS = Path(__file__).with_name("calls.txt")
LIMIT = 1000.0


def told(line: str) -> None:
    """Append one line in one write, whoever else appends."""
    with CALLS.open("a") as file:
        file.write(f"{line}\n")


async def read(request: ChatRequest) -> dict[str, Any]:
    """Find number and total in a mail of ours; slow enough to be killed in the middle."""
    digest = sha256(json.dumps(request.to_json(), sort_keys=True).encode()).hexdigest()
    told(f"chat begin {digest}")
    await sleep(0.01 + 0.06 * Random(digest).random())
    words = request.messages[-1].content.split()
    facts = {"number": words[words.index("number") + 1], "total": float(words[-1])}
    told(f"chat end {digest}")
    return facts


class Reader(Agent):
    """Let the model read the mail."""

    async def handle(self, turn: Turn) -> None:
        message = ChatMessage(role="user", content=turn.message.text)
        answer = await turn.chat(ChatRequest(messages=(message,), duty=Tier.EXTRACT))
        await turn.add_artifact(
            Artifact(
                artifact_id=new_id(),
                name="invoice",
                parts=(Part(data=json.loads(answer.texts[0])),),
            )
        )


class Bookkeeper(Agent):
    """Post what it is given."""

    async def handle(self, turn: Turn) -> None:
        facts: Mapping[str, Any] = turn.message.data or {}
        await turn.note("an invoice that was read and permitted is to be posted")
        posted = await turn.call_tool("books.post", facts)
        if posted.is_error:
            await turn.fail(posted.content)
        else:
            await turn.complete(posted.content)


class Desk(Agent):
    """Have the mail read, ask a person above the limit, have it posted."""

    async def handle(self, turn: Turn) -> None:
        invoice = _answered(await turn.ask("reader", turn.message.text))
        await turn.report(f"read {invoice['number']}")
        if invoice["total"] > LIMIT:
            asked = Question(f"Post {invoice['number']}?", options=("approve", "refuse"))
            if (await turn.ask_person(asked)).text != "approve":
                await turn.reject("a person refused it")
                return
        posted = await turn.ask("bookkeeper", invoice)
        if posted.status.state is not TaskState.COMPLETED:
            await turn.fail("it was not posted")
            return
        await turn.complete(f"posted {invoice['number']}")


def _answered(task: Task) -> Mapping[str, Any]:
    facts = task.artifacts[0].parts[0].data
    assert isinstance(facts, Mapping)
    return facts
