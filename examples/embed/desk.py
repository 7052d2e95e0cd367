"""The agents of the service: a desk that asks an expert, and the rules that stand for a model."""

from repertory import Agent, TaskState, Turn
from repertory.agents import ChatRequest

_KNOWN = {
    "open": "We are open from 9 to 17, Monday to Friday.",
    "return": "Goods may be returned within 30 days.",
}


def rules(request: ChatRequest) -> str:
    """A model that is a function: real services name a served model in the manifest instead."""
    question = request.messages[-1].content.lower()
    return next((answer for word, answer in _KNOWN.items() if word in question), "I do not know.")


class Desk(Agent):
    """Ask the expert and pass its answer on."""

    async def handle(self, turn: Turn) -> None:
        await turn.note("the expert knows the policies, the desk does not")
        task = await turn.ask("expert", turn.message.text)
        if task.status.state is not TaskState.COMPLETED:
            await turn.fail("the expert could not answer")
            return
        await turn.complete(task.artifacts[-1].parts[0].text)
