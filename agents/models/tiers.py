"""Whether a model may be given a duty: the rule of the tiers, and its refusal."""

from collections.abc import Collection

from repertory.agents.errors import TierError

from .ports import ModelInfo, Tier


def covers(tiers: Collection[Tier], duty: Tier) -> bool:
    """Whether a model that declares `tiers` may be given `duty`; judge implies all."""
    return duty in tiers or Tier.JUDGE in tiers


def require_tier(info: ModelInfo, duty: Tier) -> None:
    """Refuse a duty above the model.

    Raises:
        TierError: The model does not declare the tier.
    """
    if covers(info.tiers, duty):
        return
    declared = ", ".join(tier.value for tier in sorted(info.tiers)) or "none"
    raise TierError(
        f"model {info.name!r} is asked to {duty.value}, and its tiers are: {declared}. Give this"
        f" duty to a model that declares {duty.value!r}, or declare it if you have measured that"
        " the model can",
        model=info.name,
        duty=duty.value,
        tiers=tuple(tier.value for tier in sorted(info.tiers)),
    )
