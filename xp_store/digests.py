"""Digests of what the store keeps: SHA-256 over RFC 8785 canonical JSON, and its clock's format.

Nothing here touches the database.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
import rfc8785
import uuid_utils

Clock = Callable[[], datetime]
_SAFE = 2**53


def utc_now() -> datetime:
    """The present, aware and in UTC."""
    return datetime.now(UTC)


def instant(moment: datetime) -> str:
    """The one text form of a moment: UTC, microseconds, sorted as text as in time."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def canonical(value: Any) -> bytes:
    """`value` as RFC 8785 canonical JSON.

    Raises:
        ValueError: It holds what JSON cannot: NaN, integers beyond 2**53, other types.
    """
    # orjson agrees with the standard on everything `_plain` admits and is fifty times faster.
    if _plain(value):
        try:
            return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        except orjson.JSONEncodeError as error:
            raise ValueError(f"no canonical JSON: {error}") from error
    return rfc8785.dumps(_thawed(value))


def _thawed(value: Any) -> Any:
    # A draft may hold any mapping, such as a frozen one; the standard's library knows dicts.
    if isinstance(value, Mapping):
        return {key: _thawed(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_thawed(each) for each in value]
    return value


def as_json(value: Any) -> str:
    """`value` as JSON for a column, in the order it came."""
    return orjson.dumps(value, default=_thawed_mapping).decode()


def cleaned(value: Any) -> Any:
    """`value` with what canonical JSON cannot say put into words it can.

    Whole numbers beyond 2**53 become text, NaN and infinities null, and half
    characters (lone surrogates) and the character 0 the replacement character.
    """
    if isinstance(value, str):
        whole = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return whole.replace("\0", "\ufffd")
    if isinstance(value, Mapping):
        return {cleaned(str(key)): cleaned(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [cleaned(each) for each in value]
    if isinstance(value, int) and not isinstance(value, bool) and not -_SAFE < value < _SAFE:
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _thawed_mapping(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _plain(value: Any) -> bool:
    # The two differ in the order of keys outside ASCII, and in how they write some floats.
    waiting = [value]
    while waiting:
        value = waiting.pop()
        kind = type(value)
        if kind is str or value is None or kind is bool:
            continue
        if kind is dict:
            for key, each in value.items():
                if type(key) is not str or not key.isascii():
                    return False
                if type(each) is not str:
                    waiting.append(each)
        elif kind is list or kind is tuple:
            waiting.extend(value)
        elif kind is int:
            if not -_SAFE < value < _SAFE:
                return False
        elif kind is not float or not 1e-3 < value < 1e15 or value.is_integer():
            return False
    return True


def digest_of(value: Any) -> str:
    """The SHA-256 of `value`'s canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical(value)).hexdigest()


def pack_id() -> str:
    """A new id, UUID version 7: later ids sort after earlier ones."""
    return str(uuid_utils.uuid7())
