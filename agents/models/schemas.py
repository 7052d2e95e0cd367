"""JSON Schemas that models can be held to: an end for every string, and what a grammar can say."""

from collections.abc import Mapping
from typing import Any

LONGEST_STRING = 200
LONGEST_LIST = 16

# Values in here are data of the schema's author, not schemas.
_DATA = frozenset({"const", "default", "enum", "examples"})
_STRING_BOUNDS = frozenset({"const", "enum", "format", "maxLength", "pattern"})

# What the grammars of vLLM's xgrammar cannot say; a request with one of these is refused.
_NO_GRAMMAR = frozenset({"uniqueItems", "contains", "minContains", "maxContains", "multipleOf"})
_FORMATS = frozenset(
    [
        "email",
        "date",
        "time",
        "date-time",
        "duration",
        "ipv4",
        "ipv6",
        "hostname",
        "uuid",
        "uri",
        "uri-reference",
        "uri-template",
        "json-pointer",
        "relative-json-pointer",
    ]
)
_LENGTHS = frozenset({"minLength", "maxLength"})
# Their keys are names of the schema's author, and each value is a schema.
_NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})


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


def grammar_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema without what vLLM's grammars cannot say: wider, so that no fitting answer is lost.

    What was left out holds all the same where the answer is checked against the whole schema.
    """
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _NO_GRAMMAR or (key == "format" and str(value) not in _FORMATS):
            continue
        if key in _NAMED and isinstance(value, Mapping):
            kept[key] = {name: _in_grammar(each) for name, each in value.items()}
        else:
            kept[key] = value if key in _DATA else _in_grammar(value)
    gone: set[str] = set()
    if _LENGTHS & kept.keys():
        # Of two bounds on a string one can be said: the pattern, else the length, which ends it.
        gone |= _LENGTHS if "pattern" in kept else {"format"}
    if len(kept.get("patternProperties", ())) > ("properties" not in kept):
        gone |= {"patternProperties", "additionalProperties", "unevaluatedProperties"}
    if len(kept.get("allOf", ())) > 1:
        gone |= {"allOf", "unevaluatedProperties", "unevaluatedItems"}
    if "contains" in schema:
        gone.add("unevaluatedItems")
    if {"properties", "patternProperties", "unevaluatedProperties"} & kept.keys():
        gone.add("propertyNames")
    # What is wider below one of these makes the whole narrower.
    if any(kept.get(key) != schema.get(key) for key in ("not", "if")):
        gone |= {"not", "if", "then", "else"}
    if kept.get("oneOf") != schema.get("oneOf"):
        gone.add("oneOf")
        kept.setdefault("anyOf", kept["oneOf"])
    return {key: value for key, value in kept.items() if key not in gone}


def _in_grammar(value: Any) -> Any:
    if isinstance(value, Mapping):
        return grammar_schema(value)
    return [_in_grammar(each) for each in value] if isinstance(value, list) else value


def _bounded(value: Any, string: int, items: int) -> Any:
    if isinstance(value, Mapping):
        return bounded_schema(value, string=string, items=items)
    if isinstance(value, list):
        return [_bounded(each, string, items) for each in value]
    return value


def _is(schema: Mapping[str, Any], name: str) -> bool:
    kind = schema.get("type")
    return kind == name or (isinstance(kind, list) and name in kind)
