"""API keys for small installations: shown once, kept as a hash.

A key is `rpt_ID_SECRET`: the id finds its record, and the secret's SHA-256 is
compared in constant time. The secret has 256 random bits, so a fast hash keeps
it; a slow one is for what people think up.
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from re import compile as pattern
from secrets import token_hex, token_urlsafe
from time import time
from typing import Final, Protocol

from .errors import UnauthenticatedError
from .identity import EVERYTHING, Identity

KEY_PREFIX: Final = "rpt_"
_FORM: Final = pattern(r"rpt_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is kept of a key. capabilities: None for everything. expires_at: seconds since the epoch."""

    id: str
    name: str
    tenant: str
    digest: str
    capabilities: tuple[str, ...] | None = None
    expires_at: float | None = None
    revoked: bool = False


class KeyRecords(Protocol):
    """Where the records of keys are kept."""

    async def find(self, key_id: str) -> KeyRecord | None:
        """The record of that id, revoked or not."""
        ...


def new_key(
    name: str,
    *,
    tenant: str,
    capabilities: tuple[str, ...] | None = None,
    expires_at: float | None = None,
) -> tuple[str, KeyRecord]:
    """A fresh key, to be shown once, and the record to keep of it."""
    key_id, secret = token_hex(6), token_urlsafe(32)
    record = KeyRecord(key_id, name, tenant, _digest(secret), capabilities, expires_at)
    return f"{KEY_PREFIX}{key_id}_{secret}", record


async def key_identity(
    text: str, records: KeyRecords, *, clock: Callable[[], float] = time
) -> Identity:
    """Who the key `text` stands for.

    Raises:
        UnauthenticatedError: It stands for nobody; why is not told apart.
    """
    form = _FORM.fullmatch(text)
    record = await records.find(form[1]) if form else None
    proven = record is not None and compare_digest(_digest(form[2] if form else ""), record.digest)
    if (
        record is None
        or not proven
        or record.revoked
        or (record.expires_at is not None and record.expires_at <= clock())
    ):
        raise UnauthenticatedError("the API key is not valid here")
    return Identity(f"key:{record.name}", record.tenant, EVERYTHING.narrowed(record.capabilities))


def _digest(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()
