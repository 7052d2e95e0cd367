"""Digests of what the store keeps: SHA-256 over RFC 8785 canonical JSON, and its clock's format.

Nothing here touches the database.
"""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import rfc8785
import uuid_utils

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The present, aware and in UTC."""
    return datetime.now(UTC)


def instant(moment: datetime) -> str:
    """The one text form of a moment: UTC, microseconds, sorted as text as in time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def canonical(value: Any) -> bytes:
    """`value` as RFC 8785 canonical JSON.

    Raises:
        ValueError: It holds what JSON cannot: NaN, integers beyond 2**53, other types.
    """
    return rfc8785.dumps(value)


def digest_of(value: Any) -> str:
    """The SHA-256 of `value`'s canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical(value)).hexdigest()


def pack_id() -> str:
    """A new id, UUID version 7: later ids sort after earlier ones."""
    return str(uuid_utils.uuid7())
