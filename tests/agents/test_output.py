from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, model_validator

from repertory.agents import ChatResult, Tier
from repertory.agents.models import FunctionModel
from repertory.agents.output import answer_faults, faults_of
from repertory.protocol import TaskState
from tests.agents.stage import Script, answered, said, stage

_SCHEMA = {
    "type": "object",
    "properties": {"vendor": {"type": "string"}, "total": {"type": "integer"}},
    "required": ["vendor", "total"],
    "additionalProperties": False,
}
_AGENTS = """
  reader:
    memory: {recall: 0}
    output:
      type: object
      properties: {vendor: {type: string}, total: {type: integer}}
      required: [vendor, total]
      additionalProperties: false
"""


class Span(BaseModel):
    """A model with a validator that JSON Schema cannot say."""

    begin: int
    end: int = 9

    @model_validator(mode="after")
    def _in_order(self) -> "Span":
        if self.end < self.begin:
            raise ValueError("end is before begin")
        return self


def test_faults_name_the_place_and_are_bounded() -> None:
    """Ours: a model repairs what it is told, and is not told a book."""
    assert faults_of({"vendor": 1, "total": "x"}, _SCHEMA) == [
        "total: 'x' is not of type 'integer'",
        "vendor: 1 is not of type 'string'",
    ]
    (fault,) = faults_of({"vendor": "v" * 9999, "total": 1}, {"type": "array"})
    assert len(fault) < 300
    many = {str(n): n for n in range(50)}
    assert len(faults_of(many, {"additionalProperties": {"type": "string"}})) == 8


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"$ref": "#/$defs/nowhere"},
        {"type": 5},
        {"properties": 5},
        {"pattern": "("},
        {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    ],
)
def test_a_schema_that_cannot_be_used_is_a_fault_and_nothing_is_fetched(
    schema: dict[str, Any],
) -> None:
    """Ours: schemas come from tool servers too, and `blockbuster` sees every socket."""
    (fault,) = faults_of("x", schema)
    assert fault.startswith("the schema cannot be used: ")


def test_a_model_of_pydantic_judges_after_its_schema() -> None:
    """Ours: what JSON Schema cannot say is said by validators."""
    schema = Span.model_json_schema()
    assert faults_of({"begin": 1}, schema, Span) == []
    assert faults_of({"begin": "1"}, schema, Span) == ["begin: '1' is not of type 'integer'"]
    assert faults_of({"begin": 10}, schema, Span) == [
        "the answer: Value error, end is before begin"
    ]


def test_a_torn_answer_is_told_from_one_that_is_no_json() -> None:
    """Ours: a model that ran out of tokens is asked to be brief."""
    torn = ChatResult(texts=("{",), finish_reason="length", model="m", tiers=frozenset(Tier))
    assert "cut off" in answer_faults(torn, _SCHEMA)[0]
    whole = torn.model_copy(update={"finish_reason": "stop"})
    assert answer_faults(whole, _SCHEMA) == ["the answer is not JSON"]


async def test_an_answer_that_fits_is_a_data_part(tmp_path: Path) -> None:
    """Ours: a plain JSON Schema in the manifest types the answer."""
    script = Script({"vendor": "Helios", "total": 7})
    async with stage(tmp_path, _AGENTS, model=script.model) as network:
        task = await network.ask("reader", "Helios asks for 7")
    assert answered(task) == {"vendor": "Helios", "total": 7}
    (request,) = script.asked
    assert request.json_schema == _SCHEMA
    assert request.duty is Tier.EXTRACT
    assert "fits this schema" in request.messages[0].content


async def test_a_wrong_answer_is_repaired_once_with_its_faults_named(tmp_path: Path) -> None:
    """Ours: the model is told what is wrong, after its own words, between data marks."""
    script = Script({"vendor": "Helios", "total": "seven"}, {"vendor": "Helios", "total": 7})
    async with stage(tmp_path, _AGENTS, model=script.model) as network:
        task = await network.ask("reader", "Helios asks for 7")
    assert answered(task)["total"] == 7
    first, second = script.asked
    assert second.messages[: len(first.messages)] == first.messages
    assert [message.role for message in second.messages[-2:]] == ["assistant", "user"]
    fault = "<data>\ntotal: 'seven' is not of type 'integer'\n</data>"
    assert fault in second.messages[-1].content


async def test_an_answer_that_is_no_json_is_repaired_too(tmp_path: Path) -> None:
    """Ours: servers that ignore `response_format` answer in prose."""
    script = Script("The vendor is Helios.", {"vendor": "Helios", "total": 7})
    async with stage(tmp_path, _AGENTS, model=script.model) as network:
        task = await network.ask("reader", "Helios asks for 7")
    assert task.status.state is TaskState.COMPLETED
    assert "the answer is not JSON" in script.prompts()[1]


async def test_a_second_wrong_answer_fails_the_task_with_the_faults(tmp_path: Path) -> None:
    """Ours: one attempt at repair, then OutputInvalidError."""
    script = Script({"vendor": "Helios", "total": "seven"})
    async with stage(tmp_path, _AGENTS, model=script.model) as network:
        task = await network.ask("reader", "Helios asks for 7")
    assert task.status.state is TaskState.FAILED
    assert "also after one repair: total: 'seven' is not of type 'integer'" in said(task)
    assert len(script.asked) == 2


async def test_half_a_character_from_a_model_is_a_fault_and_no_crash(tmp_path: Path) -> None:
    """Ours: constrained models emit lone surrogates, which no journal can hold."""
    script = Script('{"vendor": "\\ud83d", "total": 7}', {"vendor": "Helios", "total": 7})
    async with stage(tmp_path, _AGENTS, model=script.model) as network:
        task = await network.ask("reader", "Helios asks for 7")
    assert task.status.state is TaskState.COMPLETED


async def test_output_may_be_a_pydantic_model_of_the_users_module(tmp_path: Path) -> None:
    """Ours: `output: module:Model`; its validators take part in the repair."""
    (tmp_path / "shapes_of_a_test.py").write_text(
        "from pydantic import BaseModel, field_validator\n"
        "class Invoice(BaseModel):\n"
        "    total: int\n"
        "    @field_validator('total')\n"
        "    @classmethod\n"
        "    def _positive(cls, value: int) -> int:\n"
        "        if value <= 0:\n"
        "            raise ValueError('a total is above zero')\n"
        "        return value\n"
    )
    script = Script({"total": -1}, {"total": 1})
    agents = "  reader: {memory: {recall: 0}, output: 'shapes_of_a_test:Invoice'}\n"
    async with stage(tmp_path, agents, model=script.model) as network:
        task = await network.ask("reader", "one, please")
    assert answered(task) == {"total": 1}
    assert "total: Value error, a total is above zero" in script.prompts()[1]


async def test_a_model_of_the_extract_tier_fills_a_schema_without_tools(tmp_path: Path) -> None:
    """Ours: the embedded tier is good for this duty, and asked for nothing above it."""
    tiers = frozenset({Tier.SCORE, Tier.EXTRACT})
    script = Script({"vendor": "Helios", "total": 7}, tiers=tiers)
    async with stage(tmp_path, _AGENTS, model=script.model) as network:
        task = await network.ask("reader", "Helios asks for 7")
    assert task.status.state is TaskState.COMPLETED


async def test_prose_from_a_model_of_the_extract_tier_is_refused_with_advice(
    tmp_path: Path,
) -> None:
    """Ours: a duty above the model's tier is never given to it."""
    tiers = frozenset({Tier.SCORE, Tier.EXTRACT})
    model = FunctionModel(lambda request: "prose", tiers=tiers, name="embedded")
    async with stage(tmp_path, "  writer: {memory: {recall: 0}}\n", model=model) as network:
        task = await network.ask("writer", "a poem")
    assert task.status.state is TaskState.FAILED
    assert "'embedded' is asked to generate, and its tiers are: score, extract" in said(task)
