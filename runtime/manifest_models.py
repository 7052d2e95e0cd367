"""The manifest's `models`: what engines there are, and what each is told."""

import re
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from repertory.agents import Tier

from .manifest_entry import Count, Entry, Name, Reference, Seconds

Variable = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]
Place = Annotated[
    str,
    Field(
        min_length=1,
        pattern=r"^[^-\s][^\r\n\x00]*$",
        description="A folder, relative to the manifest, or a name on the hub.",
    ),
]
ServerUrl = Annotated[str, Field(pattern=r"^https?://")]


class ModelLimits(Entry):
    """What one model may be asked at once, and how long it is waited for."""

    concurrency: Count = Field(
        default=4, description="Requests in flight at once; more wait in line."
    )
    seconds: Seconds = Field(default=120.0, description="The patience for one request.")
    attempts: Count = Field(
        default=3, description="Tries within the patience when it does not answer."
    )
    failures: Count = Field(
        default=5, description="Failures in a row that open the circuit breaker."
    )
    rest: Seconds = Field(default=15.0, description="Seconds that an open breaker stays open.")


class Price(Entry):
    """What a model's tokens cost, in US dollars per million."""

    input: Annotated[float, Field(ge=0)] = 0.0
    output: Annotated[float, Field(ge=0)] = 0.0


class ModelEntry(Entry):
    """What every model has, whatever its engine."""

    tiers: tuple[Tier, ...] = Field(
        default=(), description="What it is good enough for; judge includes all the others."
    )
    limits: ModelLimits = Field(default=ModelLimits(), description="Concurrency and patience.")
    parameters: dict[str, Any] = Field(
        default={}, description="Sent with every request: temperature, seed, max_tokens, top_p, ..."
    )
    price: Price = Field(default=Price(), description="Counted against 'usd' budgets.")


class EmbeddedModel(ModelEntry):
    """A model that runs inside Repertory, on the processor."""

    engine: Literal["embedded"]
    model: Literal["smollm2-135m"] = Field(default="smollm2-135m", description="Which one.")
    tiers: tuple[Tier, ...] = Field(
        default=(Tier.SCORE, Tier.EXTRACT),
        description="Known by measurement; rarely worth changing.",
    )
    threads: Count | None = Field(default=None, description="Default: one less than the cores.")
    reuse_prompts: bool = Field(
        default=False,
        description="Keep the beginning of earlier prompts: several times faster where examples"
        " come first, and answers then differ in the last digits from run to run.",
    )
    limits: ModelLimits = Field(
        default=ModelLimits(concurrency=2, seconds=300.0),
        description="Concurrency and patience; on a processor more at once is fairer, not faster.",
    )


class OpenAIModel(ModelEntry):
    """A model behind any servers that speak OpenAI's HTTP API, vLLM first."""

    engine: Literal["openai"]
    url: str = Field(
        default="", pattern=r"^(https?://.*)?$", description="The API's root, ending in '/v1'."
    )
    urls: tuple[ServerUrl, ...] = Field(
        default=(),
        description="Or several servers of the same model; the least busy one is asked.",
    )
    hedge: Seconds | None = Field(
        default=None,
        description="Of several: ask a second one after this many seconds; default: never.",
    )
    model: str = Field(description="The name the server knows it by.")
    api_key_env: str = Field(
        default="",
        description="The environment variable that holds the key; the key itself never here.",
    )
    tiers: tuple[Tier, ...] = Field(
        min_length=1, description="What it is good enough for; judge includes all the others."
    )

    @model_validator(mode="after")
    def _one_way(self) -> "OpenAIModel":
        if bool(self.url) == bool(self.urls):
            raise ValueError("needs either 'url' or 'urls', not both")
        if len(set(self.urls)) < len(self.urls):
            raise ValueError("names one server twice in 'urls'")
        if self.hedge is not None and len(self.urls) < 2:
            raise ValueError("has 'hedge', which is for two 'urls' or more")
        return self

    @property
    def servers(self) -> tuple[str, ...]:
        """The servers' URLs."""
        return self.urls or (self.url,)


class VllmModel(ModelEntry):
    """A model whose vLLM server this network starts, watches and stops, on loopback."""

    engine: Literal["vllm"]
    model: Place = Field(
        description="A folder, relative to the manifest, or a name on the hub; with 'server', one"
        " of its adapters.",
    )
    server: Name | None = Field(
        default=None,
        description="Another model of engine 'vllm', whose server has this one as an adapter.",
    )
    tensor_parallel: Annotated[int, Field(ge=1, le=1024, strict=True)] = Field(
        default=1, description="GPUs that share the model."
    )
    lora: dict[Name, Place] = Field(
        default={}, description="Adapters by name: folders, relative to the manifest, or hub names."
    )
    arguments: tuple[str, ...] = Field(
        default=(), description="Further arguments of 'vllm serve', one word each; no shell."
    )
    command: tuple[str, ...] = Field(
        default=("vllm",),
        min_length=1,
        description="Another executable that is called like 'vllm'; 'python' is ours.",
    )
    env: tuple[Variable, ...] = Field(
        default=(), description="Environment variables handed on; the server sees no others."
    )
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=0, description="Where it listens on 127.0.0.1; default: a free port at each start."
    )
    start_seconds: Seconds = Field(default=900.0, description="It must answer within these.")
    silence: Seconds = Field(
        default=60.0, description="Seconds without a sign of health after which it is killed."
    )
    intensity: Annotated[int, Field(ge=0)] = Field(default=3, description="Restarts allowed ...")
    period: Seconds = Field(default=600.0, description="... within this many seconds.")
    tiers: tuple[Tier, ...] = Field(
        min_length=1, description="What it is good enough for; judge includes all the others."
    )
    limits: ModelLimits = Field(
        default=ModelLimits(concurrency=64), description="Concurrency and patience."
    )

    @model_validator(mode="after")
    def _own_server_or_another(self) -> "VllmModel":
        if self.server is not None:
            kept = {"engine", "model", "server", "tiers", "limits", "parameters", "price"}
            given = sorted(self.model_fields_set - kept)
            if given:
                raise ValueError(f"has 'server', so {given[0]!r} is that server's to say")
        fault = argument_fault(self.arguments)
        if fault:
            raise ValueError(fault)
        if self.model in self.lora:
            raise ValueError(f"has {self.model!r} in 'lora', which is the name of 'model'")
        if not self.command[0].strip():
            raise ValueError("has an empty word first in 'command'; name a program")
        return self

    @property
    def argv(self) -> tuple[str, ...]:
        """The command with 'python' as the interpreter that runs this program."""
        if self.command[0] in ("python", "python3"):
            return (sys.executable, *self.command[1:])
        return self.command


# Options that are the runtime's to give, each with where to say it instead.
_OURS = {
    "--host": "it listens on loopback only",
    "--port": "use 'port'",
    "--uds": "it listens on loopback only",
    "--api-key": "a key is made for each start",
    "--served-model-name": "it is served under 'model'",
    "--model": "use 'model'",
    "--tensor-parallel-size": "use 'tensor_parallel'",
    "--lora-modules": "use 'lora'",
    "--config": "its file could hold what is refused here",
    "--allowed-origins": "no page of a browser may ask it",
    "--root-path": "it is asked at its root",
    "--ssl-keyfile": "it listens on loopback only",
    "--ssl-certfile": "it listens on loopback only",
    "--headless": "it must answer here",
    "-tp": "use 'tensor_parallel'",
}
_CODE = "--trust-remote-code"
_TWO_WORDS = re.compile(r"--?[\w.-]+[ \t]+\S")


def argument_fault(arguments: Sequence[str]) -> str:
    """What is wrong with further arguments of `vllm serve`; "" for nothing.

    vLLM takes '_' for '-', a value after '=', and any beginning of an option.
    """
    for word in arguments:
        if not word.strip():
            return "has an empty word in 'arguments'; take it out"
        if _TWO_WORDS.match(word):
            first, rest = word.split(maxsplit=1)
            return f"has {word!r} as one word in 'arguments'; write two: {first!r}, {rest!r}"
        if "\x00" in word or "\n" in word:
            return "has a line break or a NUL in 'arguments'"
        plain = word.lower().replace("_", "-")
        option = plain.partition("=")[0]
        if "trust-remote-code" in plain or (len(option) > 4 and _CODE.startswith(option)):
            return (
                f"has {word!r} in 'arguments'; code that comes with weights is not run, so take"
                " it out"
            )
        for ours, instead in _OURS.items():
            short = ours.startswith("--") and len(option) > 4 and ours.startswith(option)
            # '--model' begins '--model-impl' too; only the option itself is ours.
            if option == ours or (short and option != "--model"):
                return f"has {word!r} in 'arguments', which is not to be given: {instead}"
    return ""


class FunctionModel(ModelEntry):
    """A model that is a Python function, for tests and for rules."""

    engine: Literal["function"]
    function: Reference
    tiers: tuple[Tier, ...] = (Tier.JUDGE,)


class RecordedModel(ModelEntry):
    """Answers replayed from a file; those missing are asked of `inner` and kept."""

    engine: Literal["recorded"]
    path: str = Field(description="A file of answers, relative to the manifest.")
    inner: Name | None = Field(
        default=None,
        description="The model that answers what is not recorded; without one it is an error.",
    )


AnyModel = Annotated[
    EmbeddedModel | OpenAIModel | VllmModel | FunctionModel | RecordedModel,
    Field(discriminator="engine"),
]
