"""What every message of the protocol is: a frozen model that is exact in ProtoJSON.

Written by hand where pydantic's own dump is not ProtoJSON: which defaults are
omitted, base64, timestamps, one-of. Reading is one call into pydantic's core.
The messages themselves live in `messages`, `tasks`, `cards` and `operations`.

ProtoJSON (https://protobuf.dev/programming-guides/json): names in camelCase, but
snake_case is read too; enum values by name, but numbers are read too; a field
without presence is omitted when it has its default; null means absent.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from math import isfinite
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Self, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationError
from pydantic_core import ErrorDetails, from_json

from .errors import InvalidParamsError

# What protobuf's own parsers allow, and far below what would exhaust the stack.
_DEEPEST = 100


def camel_case(name: str) -> str:
    """Apply protobuf's rule for JSON names: drop each underscore, raise the letter after it."""
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


class WireEnum(StrEnum):
    """An enum that travels by name and is also read by number, in order of declaration from 1."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if type(value) is int and 0 < value <= len(cls):
            return list(cls)[value - 1]
        return None


def json_value(value: Any, depth: int = 0) -> Any:
    """A deep copy of `value` as plain JSON; ValueError for what JSON or protobuf cannot hold."""
    kind = type(value)
    if kind is str:
        if not value.isascii():
            value.encode()  # a lone surrogate is a UnicodeError, which is a ValueError
        return value
    if value is None or kind is bool:
        return value
    if kind is int:
        if not -(2**63) <= value < 2**64:
            raise ValueError("a whole number of more than 64 bits would lose digits; send text")
        return value
    if kind is float:
        if not isfinite(value):
            raise ValueError("JSON has no NaN and no infinity")
        return value
    if depth >= _DEEPEST:
        raise ValueError(f"nested deeper than {_DEEPEST} levels")
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"keys must be strings, not {type(key).__name__}")
        return {json_value(str(k)): json_value(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(each, depth + 1) for each in value]
    for plain in (str, int, float):
        if isinstance(value, plain):
            return json_value(plain(value), depth)
    raise ValueError(f"JSON has no {kind.__name__}")


def _struct(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ValueError("must be an object")
    plain: dict[str, Any] = json_value(value)
    return plain


def _from_base64(value: Any) -> Any:
    """Bytes as they are, text as base64 of either alphabet, padded or not."""
    if not isinstance(value, str):
        return value
    text = value.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (Base64Error, ValueError) as error:
        raise ValueError("must be base64") from error


def _whole(value: Any) -> Any:
    """int32 in ProtoJSON: a number or its text, never a boolean."""
    if isinstance(value, bool):
        raise ValueError("must be a whole number")
    return value


class _FineTime(datetime):
    """A moment with the nanoseconds that `datetime` cannot hold, kept as a peer sent them."""

    nanosecond: int


def _moment(value: Any) -> datetime | None:
    """RFC 3339 or an aware datetime, in UTC."""
    if value is None:
        return None
    moment = value
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
        if not isinstance(moment, datetime):
            raise ValueError("not a moment")
        if moment.tzinfo is not UTC:
            moment = _in_utc(moment)
    except (ValueError, OverflowError):
        raise ValueError("must be an RFC 3339 timestamp with its offset from UTC") from None
    if isinstance(value, str) and (fine := _BELOW_MICROSECOND.match(value)):
        return _fine_time(moment, int(fine[1].ljust(3, "0")))
    return moment


_BELOW_MICROSECOND = re.compile(r"[^.]{19}\.\d{6}(\d{1,3})")


def _in_utc(moment: datetime) -> datetime:
    if moment.utcoffset() is None:
        raise ValueError("naive")
    return moment.astimezone(UTC)


def _fine_time(moment: datetime, nanosecond: int) -> _FineTime:
    fine = _FineTime.combine(moment.date(), moment.timetz())
    fine.nanosecond = nanosecond
    return fine


def rfc3339(moment: datetime) -> str:
    """`moment`, which is in UTC, with 0, 3, 6 or 9 digits of a second, as ProtoJSON prints it."""
    seconds = moment.isoformat(timespec="microseconds")
    nanosecond = moment.nanosecond if isinstance(moment, _FineTime) else 0
    if nanosecond:
        return f"{seconds[:26]}{nanosecond:03}Z"
    if not moment.microsecond:
        return seconds[:19] + "Z"
    return (seconds[:23] if seconds[23:26] == "000" else seconds[:26]) + "Z"


Struct = Annotated[dict[str, Any] | None, PlainValidator(_struct)]
Value = Annotated[Any, PlainValidator(json_value)]
Base64 = Annotated[bytes, BeforeValidator(_from_base64)]
Moment = Annotated[datetime | None, PlainValidator(_moment)]
Int32 = Annotated[int, BeforeValidator(_whole), Field(ge=-(2**31), le=2**31 - 1)]
Flag = Annotated[bool, Field(strict=True)]
# proto3 cannot tell an empty string from an absent one, so a required one is not empty.
Required = Annotated[str, Field(min_length=1)]

_Encode = Callable[[Any], Any] | None
_WireField = tuple[str, str, _Encode, bool]


class WireModel(BaseModel):
    """A frozen message of the protocol.

    What is inside `metadata` and `data` is copied when a model is made, and shared
    with what `wire()` returns: read it, never write it.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=camel_case,
        validate_by_name=True,
        validate_by_alias=True,
    )

    _wire_fields: ClassVar[tuple[_WireField, ...]] = ()

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        cls._wire_fields = tuple(
            (name, camel_case(name), _encoder(field.annotation), field.default is None)
            for name, field in cls.model_fields.items()
        )

    @classmethod
    def parse(cls, data: Mapping[str, Any] | bytes | str) -> Self:
        """Read ProtoJSON: an object, or its text.

        Raises:
            InvalidParamsError: `facts['path']` names the first field that is wrong.
        """
        validator = cls.__pydantic_validator__
        try:
            model: Self
            if isinstance(data, bytes | str):
                model = validator.validate_json(data)
            else:
                model = validator.validate_python(_plain_dict(data))
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=False)
        else:
            return model
        return cls._parse_without_nulls(data, details)

    @classmethod
    def _parse_without_nulls(
        cls, data: Mapping[str, Any] | bytes | str, details: list[ErrorDetails]
    ) -> Self:
        """Read `data` without the nulls that were in its way; raise for what else was wrong.

        Nulls are legal but rare, so only a message that has one pays for them.
        """
        wrong = [each for each in details if not _is_null_field(each)]
        if wrong:
            raise _invalid(cls, wrong)
        if isinstance(data, bytes | str):
            data = from_json(data)
        try:
            model: Self = cls.__pydantic_validator__.validate_python(
                _without(data, [each["loc"] for each in details])
            )
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_context=False)
        else:
            return model
        raise _invalid(cls, wrong)

    def wire(self) -> dict[str, Any]:
        """This message as ProtoJSON, ready for any JSON encoder."""
        values = self.__dict__
        out: dict[str, Any] = {}
        for name, key, encode, has_presence in self._wire_fields:
            value = values[name]
            if value or (has_presence and value is not None):
                out[key] = value if encode is None else encode(value)
        return out


def require_one(model: WireModel, count: int, names: str) -> None:
    """Raise the ValueError of a one-of that has not exactly one member set."""
    if count != 1:
        raise ValueError(f"{type(model).__name__} needs exactly one of {names}")


def _wire_one(value: WireModel) -> dict[str, Any]:
    return value.wire()


def _wire_many(values: tuple[WireModel, ...]) -> list[dict[str, Any]]:
    return [each.wire() for each in values]


def _wire_map(values: dict[str, WireModel]) -> dict[str, Any]:
    return {key: each.wire() for key, each in values.items()}


def _enum_name(value: WireEnum) -> str:
    return value._value_


def to_base64(value: bytes) -> str:
    """`value` in the standard alphabet, padded, as ProtoJSON prints bytes."""
    return b64encode(value).decode("ascii")


def _encoder(annotation: Any) -> _Encode:
    """How a value of this type becomes ProtoJSON; None when it is ProtoJSON already."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return _encoder(next(each for each in inside if each is not NoneType))
    if origin is Annotated:
        return _encoder(inside[0])
    if origin is tuple:
        return _wire_many if issubclass(inside[0], WireModel) else list
    if origin is dict:
        last = inside[1]
        return _wire_map if isinstance(last, type) and issubclass(last, WireModel) else None
    if not isinstance(annotation, type):
        return None
    for kind, encode in _ENCODERS:
        if issubclass(annotation, kind):
            return encode
    return None


_ENCODERS: tuple[tuple[type, _Encode], ...] = (
    (WireModel, _wire_one),
    (WireEnum, _enum_name),
    (datetime, rfc3339),
    (bytes, to_base64),
)


def _plain_dict(data: Any) -> Any:
    """`data` as pydantic's core reads it; other mappings than dict are copied."""
    return dict(data) if isinstance(data, Mapping) and type(data) is not dict else data


def _is_null_field(wrong: ErrorDetails) -> bool:
    """Whether all that is wrong is a null where ProtoJSON reads it as absent."""
    loc = wrong["loc"]
    return wrong["input"] is None and bool(loc) and isinstance(loc[-1], str)


def _without(value: Any, paths: Sequence[tuple[int | str, ...]]) -> Any:
    """`value` without what stands at `paths`, which are spelled in camelCase."""
    if () in paths or not paths:
        return value
    below: dict[int | str, list[tuple[int | str, ...]]] = {}
    for first, *rest in paths:
        below.setdefault(first, []).append(tuple(rest))
    if isinstance(value, Mapping):
        steps = {key: below.get(key) or below.get(camel_case(key), []) for key in value}
        return {key: _without(value[key], at) for key, at in steps.items() if () not in at}
    return [_without(each, below.get(index, [])) for index, each in enumerate(value)]


def _invalid(cls: type[WireModel], wrong: Sequence[ErrorDetails]) -> InvalidParamsError:
    """What a person can act on: the path, what it must be, and never the value itself."""
    loc = wrong[0]["loc"]
    path = "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in loc)
    path = path.removeprefix(".")
    where = f"{cls.__name__}.{path}" if path else cls.__name__
    says = wrong[0]["msg"].removeprefix("Value error, ")
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return InvalidParamsError(f"{where}: {says}{more}", path=path, model=cls.__name__)
