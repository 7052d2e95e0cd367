"""The agent that the official MCP referee is run against: its fixtures, by our public API.

`python tests/conformance/agent.py` serves it and prints its MCP endpoint. Tools
are skills of an agent function; resources and prompts are pages of its host face.
"""

import base64
import json
import struct
import sys
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
from mcp.types import (
    EmbeddedResource,
    GetPromptResult,
    ImageContent,
    InputRequiredResult,
    PromptArgument,
    PromptMessage,
    TextContent,
    TextResourceContents,
)

from repertory.protocol import (
    Call,
    HostPages,
    HostPrompt,
    HostResource,
    HostTemplate,
    HostTool,
    Part,
    memory_card,
)
from repertory.protocol.testing import Job, ServedAgent, serve_agent

EMPTY: dict[str, Any] = {"type": "object", "properties": {}}
INPUTS = "application/vnd.repertory.input-requests+json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def _png() -> bytes:
    """One red pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixel = zlib.compress(b"\x00\xff\x00\x00")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixel) + chunk(b"IEND", b"")


PNG = _png()
WAV = b"RIFF$\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\0\0\0\0"
PICTURE = Part(raw=PNG, media_type="image/png")


def form(message: str, **properties: Any) -> dict[str, Any]:
    """An elicitation for these properties, all of them required."""
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {
        "method": "elicitation/create",
        "params": {"message": message, "requestedSchema": schema},
    }


def sampling(text: str, tokens: int = 100) -> dict[str, Any]:
    """A request for a completion of the host's model."""
    content = {"type": "text", "text": text}
    params = {"messages": [{"role": "user", "content": content}], "maxTokens": tokens}
    return {"method": "sampling/createMessage", "params": params}


ROOTS: dict[str, Any] = {"method": "roots/list", "params": {}}
NAME = form("What is your name?", name={"type": "string"})


async def ask(job: Job, **requests: Any) -> dict[str, Any]:
    """Ask the host for each of `requests`; the answers, by key."""
    answer = await job.ask(Part(data=requests, media_type=INPUTS))
    found: dict[str, Any] = answer.data or {}
    return found


def said(job: Job) -> dict[str, Any]:
    """The arguments of the call."""
    found: dict[str, Any] = job.message.data or {}
    return found


def resource(uri: str, kind: str, text: str) -> Part:
    """An embedded resource."""
    return Part(text=text, media_type=kind, metadata={"uri": uri})


Tool = Callable[[Job], Awaitable[None]]
TOOLS: dict[str, tuple[Tool, HostTool]] = {}


def tool(schema: Mapping[str, Any] = EMPTY, **more: Any) -> Callable[[Tool], Tool]:
    """Add a function as the tool of its name."""

    def add(run: Tool) -> Tool:
        more.setdefault("tasks", "never")
        described = run.__doc__ or ""
        made = HostTool(name=run.__name__, description=described, input_schema=schema, **more)
        TOOLS[run.__name__] = run, made
        return run

    return add


def text(**properties: str) -> dict[str, Any]:
    """A schema of required strings."""
    shown = {name: {"type": "string", "description": what} for name, what in properties.items()}
    return {"type": "object", "properties": shown, "required": list(properties)}


# -- content -------------------------------------------------------------------


@tool()
async def test_simple_text(job: Job) -> None:
    """Answer with text."""
    await job.complete("This is a simple text response for testing.")


@tool()
async def test_image_content(job: Job) -> None:
    """Answer with a picture."""
    await job.complete(PICTURE)


@tool()
async def test_audio_content(job: Job) -> None:
    """Answer with a sound."""
    await job.complete(Part(raw=WAV, media_type="audio/wav"))


@tool()
async def test_embedded_resource(job: Job) -> None:
    """Answer with a resource."""
    body = "This is an embedded resource content."
    await job.complete(resource("test://embedded-resource", "text/plain", body))


@tool()
async def test_multiple_content_types(job: Job) -> None:
    """Answer with text, a picture and a resource."""
    body = json.dumps({"test": "data", "value": 123})
    await job.complete(
        [
            Part(text="Multiple content types test:"),
            PICTURE,
            resource("test://mixed-content-resource", "application/json", body),
        ]
    )


async def _in_steps(job: Job) -> None:
    for note in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await job.working(note)
        await anyio.sleep(0.05)
    await job.complete("Done.")


for _name in (
    "test_tool_with_logging",
    "test_tool_with_progress",
    "test_logging_tool",
    "test_reconnection",
):
    TOOLS[_name] = (
        _in_steps,
        HostTool(name=_name, description="Work in steps.", input_schema=EMPTY, tasks="never"),
    )


@tool()
async def test_error_handling(job: Job) -> None:
    """Fail."""
    await job.fail("This tool intentionally returns an error for testing")


@tool(
    {
        "$schema": DIALECT,
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
            }
        },
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {
            "properties": {"contactMethod": {"const": "phone"}},
            "required": ["contactMethod"],
        },
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": False,
    }
)
async def json_schema_2020_12_tool(job: Job) -> None:
    """Tool with JSON Schema 2020-12 features."""
    await job.complete("fits")


@tool(
    {
        "type": "object",
        "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
        "required": ["region"],
    }
)
async def test_header_tool(job: Job) -> None:
    """Take an argument that is mirrored in a header."""
    await job.complete(said(job)["region"])


@tool(requires={"sampling": {}})
async def test_missing_capability(job: Job) -> None:
    """Need a client with sampling."""
    await job.complete("The client has sampling.")


# -- questions -----------------------------------------------------------------


@tool(text(prompt="The prompt to send to the LLM"))
async def test_sampling(job: Job) -> None:
    """Ask the host's model."""
    answer = await ask(job, sample=sampling(said(job)["prompt"]))
    await job.complete(f"LLM response: {answer['sample']['content']['text']}")


@tool(text(message="The message to show the user"))
async def test_elicitation(job: Job) -> None:
    """Ask the user."""
    username = {"type": "string", "description": "User's response"}
    email = {"type": "string", "description": "User's email address"}
    asked = form(said(job)["message"], username=username, email=email)
    answer = (await ask(job, user=asked))["user"]
    await job.complete(f"User response: {json.dumps(answer)}")


@tool()
async def test_streaming_elicitation(job: Job) -> None:
    """Ask the user, after a word."""
    await job.working("about to ask")
    await ask(job, user_name=NAME)
    await job.complete("asked")


async def _elicited(job: Job, properties: dict[str, Any]) -> None:
    asked = {
        "method": "elicitation/create",
        "params": {
            "message": "Please fill this in",
            "requestedSchema": {"type": "object", "properties": properties},
        },
    }
    answer = (await ask(job, form=asked))["form"]
    action, content = answer["action"], json.dumps(answer.get("content", {}))
    await job.complete(f"Elicitation completed: action={action}, content={content}")


@tool()
async def test_elicitation_sep1034_defaults(job: Job) -> None:
    """Ask with defaults."""
    await _elicited(
        job,
        {
            "name": {"type": "string", "default": "John Doe"},
            "age": {"type": "integer", "default": 30},
            "score": {"type": "number", "default": 95.5},
            "status": {
                "type": "string",
                "enum": ["active", "inactive", "pending"],
                "default": "active",
            },
            "verified": {"type": "boolean", "default": True},
        },
    )


@tool()
async def test_elicitation_sep1330_enums(job: Job) -> None:
    """Ask with every kind of choice."""
    options = ["option1", "option2", "option3"]
    titled = [
        {"const": f"value{n}", "title": f"{word} Option"}
        for n, word in enumerate(("First", "Second", "Third"), 1)
    ]
    chosen = [
        {"const": f"value{n}", "title": f"{word} Choice"}
        for n, word in enumerate(("First", "Second", "Third"), 1)
    ]
    await _elicited(
        job,
        {
            "untitledSingle": {"type": "string", "enum": options},
            "titledSingle": {"type": "string", "oneOf": titled},
            "legacyEnum": {
                "type": "string",
                "enum": ["opt1", "opt2", "opt3"],
                "enumNames": ["Option One", "Option Two", "Option Three"],
            },
            "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
            "titledMulti": {"type": "array", "items": {"anyOf": chosen}},
        },
    )


@tool()
async def test_input_required_result_elicitation(job: Job) -> None:
    """Ask for a name."""
    answer = await ask(job, user_name=NAME)
    await job.complete(f"Hello, {answer['user_name']['content']['name']}!")


@tool()
async def test_input_required_result_sampling(job: Job) -> None:
    """Ask the host's model for a capital."""
    answer = await ask(job, capital_question=sampling("What is the capital of France?"))
    await job.complete(answer["capital_question"]["content"]["text"])


@tool()
async def test_input_required_result_list_roots(job: Job) -> None:
    """Ask for the roots."""
    answer = await ask(job, client_roots=ROOTS)
    await job.complete(json.dumps(answer["client_roots"]["roots"]))


@tool()
async def test_input_required_result_request_state(job: Job) -> None:
    """Ask for a confirmation."""
    await ask(job, confirm=form("Please confirm", ok={"type": "boolean"}))
    await job.complete("state-ok")


@tool()
async def test_input_required_result_tampered_state(job: Job) -> None:
    """Ask for a confirmation, under a state that nobody may change."""
    await ask(job, confirm=form("Please confirm", ok={"type": "boolean"}))
    await job.complete("state-ok")


@tool()
async def test_input_required_result_multiple_inputs(job: Job) -> None:
    """Ask three things at once."""
    greeting = sampling("Generate a greeting", 50)
    answer = await ask(job, user_name=NAME, greeting=greeting, client_roots=ROOTS)
    await job.complete(json.dumps(answer))


@tool()
async def test_input_required_result_multi_round(job: Job) -> None:
    """Ask twice."""
    name = form("Step 1: What is your name?", name={"type": "string"})
    color = form("Step 2: What is your favorite color?", color={"type": "string"})
    first = await ask(job, step1=name)
    second = await ask(job, step2=color)
    await job.complete(
        f"{first['step1']['content']['name']} likes {second['step2']['content']['color']}"
    )


@tool()
async def test_input_required_result_capabilities(job: Job) -> None:
    """Ask for whatever the client can answer."""
    answer = await ask(job, user_name=NAME, capital=sampling("What is the capital of France?"))
    await job.complete(json.dumps(answer))


# -- tasks ---------------------------------------------------------------------


@tool(text(name="Who is greeted"))
async def greet(job: Job) -> None:
    """Greet."""
    await job.complete(f"Hello, {said(job)['name']}!")


@tool(
    {
        "type": "object",
        "properties": {"seconds": {"type": "number"}, "label": {"type": "string"}},
    },
    tasks="may",
)
async def slow_compute(job: Job) -> None:
    """Take some seconds."""
    await job.working("computing")
    await anyio.sleep(float(said(job).get("seconds", 0)))
    await job.complete(f"computed {said(job).get('label', '')}")


@tool(tasks="must")
async def failing_job(job: Job) -> None:
    """Fail after a second."""
    await job.working()
    await anyio.sleep(1)
    await job.fail("The job failed.")


@tool(tasks="may")
async def protocol_error_job(job: Job) -> None:
    """Break."""
    await job.working()
    raise RuntimeError("the job breaks, as its test wants")


@tool(text(filename="What is deleted"), tasks="may")
async def confirm_delete(job: Job) -> None:
    """Ask before deleting."""
    await job.working()
    asked = form(f"Delete {said(job)['filename']}?", confirm={"type": "boolean"})
    answer = await ask(job, confirm=asked)
    await job.complete("deleted" if answer["confirm"]["content"]["confirm"] else "kept")


@tool(tasks="may")
async def multi_input(job: Job) -> None:
    """Ask two things at once."""
    await job.working()
    answer = await ask(job, first=_loose("First?"), second=_loose("Second?"))
    await job.complete(json.dumps(answer))


def _loose(message: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    params = {"message": message, "requestedSchema": schema}
    return {"method": "elicitation/create", "params": params}


@tool(tasks="must")
async def test_tool_with_task(job: Job) -> None:
    """Ask first, then work as a task."""
    answer = await ask(job, user_name=NAME)
    await job.working()
    await job.complete(f"Hello, {answer['user_name']['content']['name']}!")


# -- pages ---------------------------------------------------------------------


async def _static_text(_: Call) -> str:
    return "This is the content of the static text resource."


async def _static_binary(_: Call) -> bytes:
    return PNG


async def _template(variables: Mapping[str, str], _: Call) -> str:
    number = variables["id"]
    return json.dumps({"id": number, "templateTest": True, "data": f"Data for ID: {number}"})


def _says(*content: Any) -> GetPromptResult:
    return GetPromptResult(messages=[PromptMessage(role="user", content=each) for each in content])


async def _simple(_: Mapping[str, str], __: Mapping[str, Any]) -> GetPromptResult:
    return _says(TextContent(text="This is a simple prompt for testing."))


async def _with_arguments(given: Mapping[str, str], _: Mapping[str, Any]) -> GetPromptResult:
    words = f"arg1='{given['arg1']}', arg2='{given['arg2']}'"
    return _says(TextContent(text=f"Prompt with arguments: {words}"))


async def _with_resource(given: Mapping[str, str], _: Mapping[str, Any]) -> GetPromptResult:
    body = TextResourceContents(
        uri=given["resourceUri"],
        mime_type="text/plain",
        text="Embedded resource content for testing.",
    )
    after = TextContent(text="Please process the embedded resource above.")
    return _says(EmbeddedResource(resource=body), after)


async def _with_image(_: Mapping[str, str], __: Mapping[str, Any]) -> GetPromptResult:
    image = ImageContent(data=base64.b64encode(PNG).decode(), mime_type="image/png")
    return _says(image, TextContent(text="Please analyze the image above."))


async def _asking(
    _: Mapping[str, str], answers: Mapping[str, Any]
) -> GetPromptResult | InputRequiredResult:
    context = answers.get("user_context", {}).get("content", {}).get("context")
    if context is None:
        asked = form("What context should the prompt use?", context={"type": "string"})
        return InputRequiredResult.model_validate({"inputRequests": {"user_context": asked}})
    return _says(TextContent(text=f"Use this context: {context}"))


async def _words(_: str, begun: str, __: Call) -> list[str]:
    return [word for word in ("paris", "park", "party", "test") if word.startswith(begun)]


def _needs(*names: str) -> tuple[PromptArgument, ...]:
    return tuple(PromptArgument(name=name, required=True) for name in names)


PAGES = HostPages(
    resources=(
        HostResource("test://static-text", "static-text", _static_text),
        HostResource(
            "test://static-binary", "static-binary", _static_binary, mime_type="image/png"
        ),
        HostResource("test://watched-resource", "watched-resource", _static_text),
    ),
    templates=(HostTemplate("test://template/{id}/data", "template", _template),),
    prompts=(
        HostPrompt("test_simple_prompt", _simple, "A prompt without arguments."),
        HostPrompt(
            "test_prompt_with_arguments",
            _with_arguments,
            "A prompt with two arguments.",
            arguments=_needs("arg1", "arg2"),
            complete=_words,
        ),
        HostPrompt(
            "test_prompt_with_embedded_resource",
            _with_resource,
            "A prompt with a resource.",
            arguments=_needs("resourceUri"),
        ),
        HostPrompt("test_prompt_with_image", _with_image, "A prompt with a picture."),
        HostPrompt("test_input_required_result_prompt", _asking, "A prompt that asks."),
    ),
)


async def main() -> None:
    """Serve until canceled."""
    running: list[ServedAgent] = []

    @tool()
    async def test_trigger_tool_change(job: Job) -> None:
        """Say that the tools have changed."""
        await running[0].host.announce("tools")
        await job.complete("announced")

    @tool()
    async def test_trigger_prompt_change(job: Job) -> None:
        """Say that the prompts have changed."""
        await running[0].host.announce("prompts")
        await job.complete("announced")

    async def agent(job: Job) -> None:
        await TOOLS[job.skill][0](job)

    tools = [each for _, each in TOOLS.values()]
    async with serve_agent(agent, card=memory_card("referee"), tools=tools, pages=PAGES) as served:
        running.append(served)
        sys.stdout.write(f"{served.mcp_url}\n")
        sys.stdout.flush()
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(main)
