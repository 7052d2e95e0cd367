"""The manifest's `tenants`: what each of those who share a network may ask of it."""

from typing import Annotated, Literal

from pydantic import Field

from .manifest_entry import Count, Entry, Seconds


class TenantBudget(Entry):
    """What all of a tenant's work may spend in one window (UTC); null is no limit."""

    tokens: Count | None = None
    calls: Count | None = Field(default=None, description="Model and tool calls.")
    usd: Annotated[float, Field(gt=0)] | None = None
    seconds: Seconds | None = Field(default=None, description="Of model and tool calls, summed.")
    per: Literal["hour", "day", "month"] = Field(default="day", description="The window.")


class TenantLimits(Entry):
    """Bounds of one tenant, or (named '*') of every tenant that has none of its own."""

    waiting: Count | None = Field(
        default=None, description="Messages that may wait at all agents together; then: busy."
    )
    running: Count | None = Field(
        default=None,
        description="Messages from outside worked on at once; what agents ask each other is free.",
    )
    rate: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Messages from outside a second, in bursts of ten seconds."
    )
    budget: TenantBudget = TenantBudget()
