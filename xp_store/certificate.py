"""The certificate of a forget: DMM-Gov's fields F1 to F7, in canonical JSON, signed.

It names what was forgotten by digests only, so it may be handed on. Anybody can check
it with the public key in it; whoever holds the store also compares that key and the
ledger's entry, which is written before the certificate is signed.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .digests import canonical
from .errors import StoreError
from .keys import Keys, signed_by


class Interval(BaseModel):
    """A share with its 95% interval (Wilson) and the number of trials."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float
    high: float
    n: int


class ForgetCertificate(BaseModel):
    """What was forgotten, how, and the proof; F1 to F7 are named in the fields' descriptions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    request_id: str
    tenant: str
    actor: str
    selector: str = Field(description="F1, the target; persons and texts are counted, not named.")
    closure: list[str] = Field(description="F1: digests of what was selected and all its children.")
    deleted: int
    rederived: int = Field(description="Derived packs made again of the parents that are left.")
    retained: int
    tasks: int = Field(description="Tasks deleted from the journal with their events and steps.")
    requested_at: str = Field(description="F2, the window.")
    completed_at: str = Field(description="F2.")
    method: list[str] = Field(description="F3, what was done, in order.")
    traces: int = Field(description="F4: how many pieces of text and vectors were looked for.")
    files: int = Field(description="F4: how many files were read for them.")
    bytes_read: int = Field(description="F4.")
    residue_scan: dict[str, int] = Field(description="F4: occurrences by file; empty when erased.")
    explained: dict[str, int] = Field(
        description="F4: occurrences that are the text of what was kept."
    )
    store_digest: str = Field(description="F4: of what is left.")
    rebuild_digest_equal: bool = Field(
        description="F4: whether the store made anew of what is left has the same digest."
    )
    probes: dict[str, int | None] = Field(
        description="F4: answers that still hold something of it; null where nothing was asked."
    )
    utility_before: Interval | None = Field(
        description="F5: share of packs whose nearest other pack is of the same family."
    )
    utility_after: Interval | None = Field(description="F5.")
    rollback: None = Field(default=None, description="F6: there is none, by design.")
    ledger_entries: int = Field(description="F7, the audit.")
    ledger_hash: str = Field(description="F7: the ledger's head when this was issued.")
    notes: list[str] = Field(default=[], description="What the proof does not reach.")
    public_key: str = ""
    signature: str = ""

    @property
    def complete(self) -> bool:
        """Whether nothing is left and the store is as if it had never been."""
        answered = all(not count for count in self.probes.values())
        return not self.residue_scan and self.rebuild_digest_equal and answered

    def signed(self, keys: Keys) -> "ForgetCertificate":
        """This certificate with the signature of `keys`."""
        bare = self.model_copy(update={"public_key": keys.public, "signature": ""})
        return bare.model_copy(update={"signature": keys.sign(bare._content())})

    def verify(self) -> bool:
        """Whether the signature is that of the public key, over every other field."""
        return signed_by(
            self.public_key, self.model_copy(update={"signature": ""})._content(), self.signature
        )

    def _content(self) -> bytes:
        return canonical(self.model_dump(mode="json"))


def read_certificate(path: Path) -> ForgetCertificate:
    """Read a certificate from its file; blocking.

    Raises:
        StoreError: It is no certificate.
    """
    try:
        data: Any = json.loads(path.read_text("utf-8"))
        return ForgetCertificate.model_validate(data)
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}", path=str(path)) from None
    except (UnicodeDecodeError, ValueError, ValidationError) as error:
        first = str(error).splitlines()[0]
        raise StoreError(f"{path} is no certificate of a forget: {first}", path=str(path)) from None
