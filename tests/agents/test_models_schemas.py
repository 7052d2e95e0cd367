from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from repertory.agents.models.answers import chat_body
from repertory.agents.models.features import ServerFeatures
from repertory.agents.models.schemas import grammar_schema
from tests.agents.model_contract import SCHEMA, chat

INTEGERS = {"type": "array", "items": {"type": "integer"}}


@pytest.mark.parametrize(
    ("schema", "sent"),
    [
        ({**INTEGERS, "uniqueItems": True, "maxItems": 3}, {**INTEGERS, "maxItems": 3}),
        ({**INTEGERS, "contains": {"const": 1}, "minContains": 1}, INTEGERS),
        ({"type": "integer", "multipleOf": 5, "minimum": 0}, {"type": "integer", "minimum": 0}),
        ({"type": "string", "format": "decimal"}, {"type": "string"}),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        (
            {"type": "string", "format": "email", "maxLength": 40},
            {"type": "string", "maxLength": 40},
        ),
        (
            {"type": "string", "pattern": "^a+$", "maxLength": 4},
            {"type": "string", "pattern": "^a+$"},
        ),
        (
            {"properties": {"a": True}, "patternProperties": {"^b": True}, "propertyNames": {}},
            {"properties": {"a": True}},
        ),
        ({"allOf": [{"type": "string"}, {"enum": ["a"]}]}, {}),
        ({"allOf": [{"$ref": "#/$defs/a"}]}, {"allOf": [{"$ref": "#/$defs/a"}]}),
    ],
)
def test_what_a_grammar_cannot_say_is_left_out(schema: Any, sent: Any) -> None:
    """Spec: vLLM 0.32's list of what xgrammar does not take; it answers 400 to each."""
    assert grammar_schema(schema) == sent
    nested = {"type": "object", "properties": {"x": schema}, "required": ["x"]}
    assert grammar_schema(nested) == {**nested, "properties": {"x": sent}}


def test_names_of_the_author_are_no_keywords() -> None:
    """Ours: a property may be called as a keyword is, and a value may look like one."""
    schema = {
        "type": "object",
        "properties": {"contains": {"type": "string"}, "format": {"enum": [{"multipleOf": 1}]}},
        "$defs": {"uniqueItems": {"const": {"contains": 1}}},
    }
    assert grammar_schema(schema) == schema


_KEYS: dict[str, st.SearchStrategy[Any]] = {
    "type": st.sampled_from(["string", "integer", "array", "object"]),
    "uniqueItems": st.just(True),
    "multipleOf": st.sampled_from([2, 3]),
    "format": st.sampled_from(["date", "decimal"]),
    "pattern": st.sampled_from(["^a", "b$"]),
    "maxLength": st.integers(0, 4),
    "minLength": st.integers(0, 2),
}
_leaves = st.fixed_dictionaries({}, optional=_KEYS)
_schemas = st.recursive(
    _leaves,
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
            "patternProperties": st.dictionaries(st.sampled_from(["^a", "b"]), inner, max_size=2),
            "propertyNames": inner,
            "items": inner,
            "contains": inner,
            "allOf": st.lists(inner, min_size=1, max_size=2),
            "oneOf": st.lists(inner, min_size=1, max_size=2),
            "not": inner,
            "if": inner,
            "then": inner,
            "additionalProperties": st.booleans(),
            "unevaluatedProperties": st.booleans(),
            "unevaluatedItems": st.booleans(),
        },
    ),
    max_leaves=5,
)
_values = st.recursive(
    st.one_of(st.integers(-4, 4), st.text("ab", max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(_schemas, _values)
@example(
    {"properties": {}, "patternProperties": {"^a": {}}, "additionalProperties": False}, {"a": 1}
)
@example({"allOf": [{"properties": {"a": {}}}, {}], "unevaluatedProperties": False}, {"a": 1})
@example({"not": {"multipleOf": 2}}, 3)
@example({"oneOf": [{"multipleOf": 2}, {"multipleOf": 3}]}, 2)
def test_no_answer_that_fits_is_lost(schema: dict[str, Any], value: Any) -> None:
    """Ours: the schema that is sent is wider, never narrower; answers are checked by the whole one."""
    if Draft202012Validator(schema).is_valid(value):
        assert Draft202012Validator(grammar_schema(schema)).is_valid(value)


@pytest.mark.parametrize("engine", ["vllm", "llama.cpp"])
def test_only_vllm_gets_less_than_the_whole(engine: Any) -> None:
    """Ours: other engines say themselves what they do not take."""
    schema = {**SCHEMA, "properties": {"n": {"type": "integer", "multipleOf": 5}}}
    server = ServerFeatures(engine=engine, features=frozenset({"json_schema"}))
    sent = chat_body("m", chat(json_schema=schema), server)["response_format"]["json_schema"]
    assert ("multipleOf" in sent["schema"]["properties"]["n"]) == (engine != "vllm")
