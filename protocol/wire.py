"""What every message of the protocol is: a frozen model that is exact in ProtoJSON.

Written by hand where pydantic's own dump is not ProtoJSON: which defaults are
omitted, base64, timestamps, one-of. Reading is one call into pydantic's core.
The messages themselves live in `messages`, `tasks`, `cards` and `operations`.

ProtoJSON (https://protobuf.dev/programming-guides/json): names in camelCase, but
snake_case is read too; enum values by name, but numbers are read too; a field
without presence is omitted when it has its default; null means absent.
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from math import isfinite
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Self, Union, get_args, get_origin

from orjson import JSONDecodeError, loads
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationError
from pydantic_core import ErrorDetails

from .errors import InvalidParamsError

# What protobuf's own parsers allow, and far below what would exhaust the stack.
_DEEPEST = 100


def camel_case(name: str) -> str:
    """protobuf's rule for JSON names: drop each underscore, raise the letter after it."""
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
    if value is None or kind is bool or kind is int:
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
    """A moment with the nanoseconds that `datetime` cannot hold, as a peer sent it."""

    nanosecond: int = 0


def _moment(value: Any) -> datetime | None:
    """RFC 3339 or an aware datetime, in UTC."""
    if value is None:
        return None
    fraction = ""
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("must be an RFC 3339 timestamp") from None
        if len(value) > 27:
            fraction = value[20:].rstrip("Zz").partition("+")[0].partition("-")[0]
    elif isinstance(value, datetime):
        moment = value
    else:
        raise ValueError("must be an RFC 3339 timestamp")
    if moment.tzinfo is None:
        raise ValueError("a timestamp needs its offset from UTC")
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    if len(fraction) > 6 and fraction.isdigit():
        fine = _FineTime.fromtimestamp(0, UTC).replace(
            moment.year,
            moment.month,
            moment.day,
            moment.hour,
            moment.minute,
            moment.second,
            moment.microsecond,
        )
        fine.nanosecond = int(fraction[6:9].ljust(3, "0"))
        return fine
    return moment


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

    `ONE_OF` names fields of which exactly one is set. What is inside `metadata`
    and `data` is copied when a model is made and shared by `wire()`: read it only.
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
            if isinstance(data, bytes | str):
                return validator.validate_json(data)  # type: ignore[no-any-return]
            return validator.validate_python(  # type: ignore[no-any-return]
                data if type(data) is dict else dict(data)
            )
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=False)
        return cls._parse_again(data, details)

    @classmethod
    def _parse_again(
        cls, data: Mapping[str, Any] | bytes | str, details: list[ErrorDetails]
    ) -> Self:
        """Read `data` without the nulls that were in its way, or raise."""
        nulls = [each["loc"] for each in details if each["input"] is None and each["loc"]]
        nulls = [loc for loc in nulls if isinstance(loc[-1], str)]
        if len(nulls) < len(details):
            wrong = next(
                each for each in details if each["input"] is not None or each["loc"] not in nulls
            )
            raise _invalid(cls, wrong, len(details))
        if isinstance(data, bytes | str):
            data = loads(data)
        plain = _without(data, nulls)
        try:
            return cls.__pydantic_validator__.validate_python(plain)  # type: ignore[no-any-return]
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=False)
        raise _invalid(cls, details[0], len(details))

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


def _without(data: Any, nulls: list[tuple[int | str, ...]]) -> Any:
    """A copy of `data` without what stands at the paths `nulls`."""
    copy = json_value(data)
    for path in nulls:
        at: Any = copy
        for step in path[:-1]:
            at = at[_spelled(at, step)]
        del at[_spelled(at, path[-1])]
    return copy


def _spelled(at: Any, step: int | str) -> int | str:
    """`step` as the sender spelled it, since pydantic names a field by its alias."""
    if isinstance(at, dict) and step not in at:
        return next(key for key in at if camel_case(key) == step)
    return step


def _invalid(cls: type[WireModel], wrong: ErrorDetails, count: int) -> InvalidParamsError:
    path = "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in wrong["loc"])
    path = path.removeprefix(".")
    more = f" (and {count - 1} more)" if count > 1 else ""
    where = f"{cls.__name__}.{path}" if path else cls.__name__
    says = wrong["msg"].removeprefix("Value error, ")
    return InvalidParamsError(f"{where}: {says}{more}", path=path, model=cls.__name__)
