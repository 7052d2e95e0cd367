"""The manifest's `experience`: what is recorded and how, what checks count, and what is demanded.

All of it has defaults; a manifest without the section records episodes that stay
inside, drops secrets, and trusts nothing but what its checks decided.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from .errors import did_you_mean
from .manifest_entry import Entry, Reference

if TYPE_CHECKING:
    from repertory.xp_store import Floor, LayerRule, Rights, Rule, Thresholds, TrustRule

Share = Annotated[float, Field(ge=0, le=1)]
Days = Annotated[float, Field(gt=0)]
LayerName = Literal["working", "episodic", "semantic"]
_ORDER = ("working", "episodic", "semantic")


class RightsEntry(Entry):
    """What may be done with the packs of this network; what they come from may narrow it."""

    licence: str = Field(
        default="LicenseRef-Internal", description="An SPDX expression; the default stays inside."
    )
    restrictions: frozenset[str] = Field(
        default=frozenset(), description="Purposes or actions that are forbidden."
    )
    purposes: frozenset[str] = Field(
        default=frozenset(), description="The only purposes that are allowed; none named: all."
    )
    audience: tuple[str, ...] = Field(
        default=(), description="The agents that may use them; none named: all."
    )
    classification: Literal["public", "internal", "confidential", "secret"] = "internal"
    keep_days: Days | None = Field(
        default=None, description="After this time they are not used, and `xp forget` takes them."
    )

    @model_validator(mode="after")
    def _known(self) -> "RightsEntry":
        if self.licence != "LicenseRef-Internal":
            # Most networks need no list of licences.
            from repertory.xp_store import RightsError, expression_of

            try:
                expression_of(self.licence)
            except RightsError as error:
                raise ValueError(str(error)) from None
        return self

    def at(self, now: datetime) -> "Rights":
        """The rights of what is recorded `now`."""
        from repertory.xp_store import Rights

        return Rights(
            licence=self.licence,
            restrictions=self.restrictions,
            purposes=self.purposes,
            audience=self.audience,
            classification=self.classification,
            retain_until=None if self.keep_days is None else now + timedelta(days=self.keep_days),
        )


class RedactEntry(Entry):
    """One rule: what to find in whatever is about to be stored, and what becomes of it."""

    find: str = Field(
        description="secret, email, iban, card, phone or ip; or a pattern of your own."
    )
    name: str = Field(default="", description="What stands in its place, for your own patterns.")
    do: Literal["hash", "drop", "keep"] = Field(
        default="hash", description="A keyed hash by which packs are found again, or nothing."
    )
    person: bool = Field(default=True, description="Whether it is a person that may be forgotten.")


class TrustEntry(Entry):
    """Where trust begins and how it ages."""

    prior: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (1.0, 1.0)
    half_life_days: Days = 180.0
    opinion_cap: Share = Field(default=0.6, description="A model's opinion lifts no pack above it.")


class FloorEntry(Entry):
    """The evidence that recall demands before it says anything; one of the two suffices."""

    cosine: Annotated[float, Field(ge=-1, le=1.01)] = Field(
        description="The least likeness in meaning; 1.01: none suffices."
    )
    words: Annotated[float, Field(ge=0, le=1.01)] = Field(
        description="The least share of what the question's words tell; 1.01: none suffices."
    )


class CheckEntry(Entry):
    """A check whose verdicts shall count, and what the gates try it on."""

    use: Reference | None = Field(
        default=None, description="A CheckSpec of yours as 'module:name' ..."
    )
    lang: Literal["python", "jsonschema", "regex", "sql"] | None = Field(
        default=None, description="... or its language and its code."
    )
    code: str = ""
    start: Any = Field(default=None, description="What it is asked about before anything is done.")
    reference: Any = Field(description="A right result.")
    about: tuple[str, ...] = Field(
        default=(), description="Dotted paths of what it speaks of; all when none is named."
    )
    other: Any = Field(default=None, description="A right result of another task.")

    @model_validator(mode="after")
    def _one_source(self) -> "CheckEntry":
        if (self.use is None) == (self.lang is None):
            raise ValueError("needs either 'use', or 'lang' and 'code'")
        if self.lang is not None and not self.code:
            raise ValueError("needs 'code' beside 'lang'")
        return self


class PromotionEntry(Entry):
    """When packs move from one layer of memory to a higher one; all that is given must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    source: LayerName = Field(alias="from")
    target: LayerName = Field(alias="to")
    trust: Share = 0.0
    verdicts: Annotated[int, Field(ge=0)] = 0
    uses: Annotated[int, Field(ge=0)] = 0
    age_days: Annotated[float, Field(ge=0)] = 0.0

    @model_validator(mode="after")
    def _upwards(self) -> "PromotionEntry":
        if _ORDER.index(self.source) >= _ORDER.index(self.target):
            raise ValueError(
                f"moves from {self.source} to {self.target}; layers: {', '.join(_ORDER)}"
            )
        return self


class ThresholdsEntry(Entry):
    """What a change must reach before packs become stable."""

    replays: Annotated[int, Field(ge=1)] = 5
    gain: Annotated[float, Field(ge=-1, le=1)] = Field(
        default=-0.1, description="The least that the lower end of the gain's interval may be."
    )
    cost: Annotated[float, Field(gt=0)] = Field(
        default=1.5, description="The most tokens with, for one without."
    )
    verdicts: Annotated[int, Field(ge=1)] = 1
    trust: Share = 0.6


class ValueEntry(Entry):
    """A value of the charter, and the checks that hold it; without one it is a statement only."""

    value: str
    checks: tuple[str, ...] = ()


class Experience(Entry):
    """Experience packs: rights, redaction, trust, recall's floor, checks, layers, thresholds, charter."""

    rights: RightsEntry = RightsEntry()
    redact: tuple[RedactEntry, ...] | None = Field(
        default=None, description="Default: secrets are dropped, payment cards hashed."
    )
    trust: TrustEntry = TrustEntry()
    floor: FloorEntry | None = Field(
        default=None,
        description="When recall is silent; default: what suits the embedder, 0.62 and 0.72 for MiniLM.",
    )
    checks: dict[str, CheckEntry] = Field(default={}, description="Checks by name.")
    promote: tuple[PromotionEntry, ...] = ()
    thresholds: ThresholdsEntry = ThresholdsEntry()
    working_hours: Annotated[float, Field(gt=0)] = Field(
        default=24.0, description="How long packs of the working layer are found."
    )
    charter: tuple[ValueEntry, ...] = ()

    @model_validator(mode="after")
    def _charter_names_checks(self) -> "Experience":
        for each in self.charter:
            for name in each.checks:
                if name not in self.checks:
                    raise ValueError(
                        f"the charter's value {each.value!r} names the check {name!r};"
                        f" {did_you_mean(name, self.checks)}"
                    )
        return self

    @property
    def rules(self) -> "tuple[Rule, ...]":
        """The rules of redaction."""
        from repertory.xp_store import DEFAULT_RULES, Rule

        if self.redact is None:
            return DEFAULT_RULES
        return tuple(Rule(each.find, each.do, each.name, each.person) for each in self.redact)

    @property
    def recall_floor(self) -> "Floor | None":
        """The evidence that recall demands; None for the embedder's own."""
        from repertory.xp_store import Floor

        return None if self.floor is None else Floor(self.floor.cosine, self.floor.words)

    @property
    def trust_rule(self) -> "TrustRule":
        from repertory.xp_store import TrustRule

        trust = self.trust
        return TrustRule(trust.prior, trust.half_life_days, opinion_cap=trust.opinion_cap)

    @property
    def layer_rules(self) -> "tuple[LayerRule, ...]":
        from repertory.xp_store import LayerRule

        return tuple(
            LayerRule(each.source, each.target, each.trust, each.verdicts, each.uses, each.age_days)
            for each in self.promote
        )

    @property
    def demanded(self) -> "Thresholds":
        """The thresholds of a change."""
        from repertory.xp_store import Thresholds

        return Thresholds(**self.thresholds.model_dump())
