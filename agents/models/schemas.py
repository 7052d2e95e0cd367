"""JSON Schemas that small models can be held to: every string and list gets an end."""

from collections.abc import Mapping
from typing import Any

LONGEST_STRING = 200
LONGEST_LIST = 16

# Values in here are data of the schema's author, not schemas.
_DATA = frozenset({"const", "default", "enum", "examples"})
_STRING_BOUNDS = frozenset({"const", "enum", "format", "maxLength", "pattern"})


def bounded_schema(
    schema: Mapping[str, Any], *, string: int = LONGEST_STRING, items: int = LONGEST_LIST
) -> dict[str, Any]:
    """The schema with a maxLength on every string and a maxItems on every array that has none.

    A small model that begins to repeat itself stops nowhere else than at the
    grammar's end or at `max_tokens`, and there the JSON is torn.
    """
    bounded: dict[str, Any] = {}
    for key, value in schema.items():
        bounded[key] = value if key in _DATA else _bounded(value, string, items)
    if _is(bounded, "string") and not _STRING_BOUNDS & bounded.keys():
        bounded["maxLength"] = string
    if _is(bounded, "array") and "maxItems" not in bounded:
        bounded["maxItems"] = max(items, int(bounded.get("minItems", 0)))
    return bounded


def _bounded(value: Any, string: int, items: int) -> Any:
    if isinstance(value, Mapping):
        return bounded_schema(value, string=string, items=items)
    if isinstance(value, list):
        return [_bounded(each, string, items) for each in value]
    return value


def _is(schema: Mapping[str, Any], name: str) -> bool:
    kind = schema.get("type")
    return kind == name or (isinstance(kind, list) and name in kind)
