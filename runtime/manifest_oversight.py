"""The manifest's `oversight`: the agent that watches the others, and what its silence means."""

from typing import Literal

from pydantic import Field

from .manifest_entry import Entry, Name, Seconds


class Oversight(Entry):
    """An agent that is shown what the others do and may hold what they are about to do.

    It is asked about every action before it happens, after the policy's own rules. A
    hold asks a person; what it flags is in the trace.
    """

    agent: Name = Field(description="The agent that watches; near or far.")
    linger: Seconds = Field(
        default=0.02, description="How long spans are gathered before they are sent to it."
    )
    patience: Seconds = Field(default=1.0, description="How long an action waits for its ruling.")
    unanswered: Literal["ask", "allow", "deny"] = Field(
        default="ask", description="What an action gets that it does not rule on in time."
    )
