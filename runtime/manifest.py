"""The manifest: what a network is, as one pydantic model over one YAML file.

Everything here is data and costs nothing to load. Whether names meet each other
is checked here too; what needs an import of the user's modules is in `kinds`,
and what a network asks more of a model than it has is in `inspection`.
"""

import re
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from repertory.agents import Tier
from repertory.xp_store import is_postgres, shown_url

from .errors import Finding, ManifestError, did_you_mean
from .manifest_credentials import Credentials
from .manifest_entry import CapabilityName, Count, Entry, Name, Reference, Seconds
from .manifest_experience import Experience
from .manifest_faults import name_findings, shape_findings
from .manifest_models import AnyModel, RecordedModel
from .manifest_oversight import Oversight
from .manifest_serve import Serve
from .manifest_tenants import TenantLimits
from .policy import PolicyRules
from .yaml_source import Location, YamlSource, dotted, load_yaml, parse_yaml

ToolName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*(\.[\w./-]+)?$", max_length=160)]
TenantName = Annotated[str, Field(pattern=r"^(\*|[\w.@:-]+)$", max_length=200)]
CardKey = Annotated[str, Field(pattern=r"^([A-Za-z0-9_-]{43}|.+\.(json|jwk))$")]
DEFAULT_POOL = "default"
STOCK_KINDS = ("worker", "planner", "human")


class EmbedderEntry(Entry):
    """What turns text into vectors for recall."""

    engine: Literal["minilm", "hash"] = Field(
        default="minilm",
        description="'minilm' reads meaning; 'hash' only words, and needs no weights.",
    )


class ToolServer(Entry):
    """An MCP server that agents may use: a command on this machine, or a URL."""

    command: tuple[str, ...] = Field(
        default=(),
        description="Program and arguments, no shell; 'python' is the one that runs Repertory.",
    )
    url: str | None = Field(
        default=None, pattern=r"^https?://", description="Or a streamable HTTP server."
    )
    credentials: Credentials | None = Field(
        default=None, description="For a 'url': by what this network is known there."
    )
    env: tuple[str, ...] = Field(
        default=(), description="Environment variables handed on; the server sees no others."
    )
    allow: tuple[str, ...] | None = Field(
        default=None, description="The tools that agents may see; default: all it offers."
    )
    idempotent: tuple[str, ...] | Literal["all"] = Field(
        default=(), description="Tools that honor the idempotency key: safe to repeat after a kill."
    )
    on_unknown: Literal["repeat", "ask", "fail"] = Field(
        default="ask",
        description="For the other tools: what to do with a call whose outcome is unknown.",
    )
    tell_caller: bool = Field(
        default=False,
        description="Tell it for whom a call is made: in '_meta', and over HTTP in headers too.",
    )
    seconds: Seconds = Field(default=60.0, description="The patience for one call.")
    concurrency: Count = Field(default=8, description="Calls in flight at once.")

    @model_validator(mode="after")
    def _one_place(self) -> "ToolServer":
        if bool(self.command) == bool(self.url):
            raise ValueError("needs either 'command' (an argument list) or 'url', not both")
        if self.credentials is not None and not self.url:
            raise ValueError("has 'credentials', which are for a 'url'")
        return self

    @property
    def argv(self) -> tuple[str, ...]:
        """The command with 'python' as the interpreter that runs this program."""
        if self.command and self.command[0] in ("python", "python3"):
            return (sys.executable, *self.command[1:])
        return self.command

    def honors_key(self, tool: str) -> bool:
        """Whether a repeated call of `tool` with the same key has its effect once."""
        return self.idempotent == "all" or tool in self.idempotent


def _or_text(schema: dict[str, Any]) -> None:
    whole = dict(schema)
    schema.clear()
    schema["anyOf"] = [{"type": "string"}, whole]


class Skill(Entry):
    """One thing an agent can do, as its card tells it; plain text is enough."""

    model_config = ConfigDict(json_schema_extra=_or_text)

    id: str
    name: str
    description: str = ""
    tags: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"id": _slug(value), "name": value, "description": value}
        if isinstance(value, dict) and "name" in value:
            return {"id": _slug(str(value["name"])), **value}
        return value


class Memory(Entry):
    """What an agent remembers, within a context and beyond it."""

    context_tokens: Annotated[int, Field(ge=0)] = Field(
        default=2000, description="Earlier messages of the same context, up to this many tokens."
    )
    recall: Annotated[int, Field(ge=0, le=50)] = Field(
        default=3, description="Experience packs put before the model; 0 for none."
    )
    purpose: str = Field(
        default="",
        description="What recalled packs are for; packs meant for certain purposes are given for"
        " those only.",
    )
    holdout: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0,
        description="The share of tasks, drawn by lot, that get no packs, so that 'xp stats' can"
        " say what packs do.",
    )
    record: bool = Field(default=True, description="Leave an experience pack when a task ends.")
    layer: Literal["working", "episodic"] = Field(
        default="episodic",
        description="Where they begin: 'working' ones end by themselves unless a rule keeps them.",
    )
    family: str = Field(
        default="", description="The family its packs belong to; default: the agent's name."
    )


class AgentEntry(Entry):
    """An agent that runs here, or (with `url`) one that runs elsewhere."""

    kind: str = Field(
        default="worker",
        pattern=r"^(worker|planner|human|[A-Za-z_][\w.]*:[A-Za-z_][\w.]*)$",
        description="'worker', 'planner', 'human', or 'module:Class' of your own.",
    )
    url: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="Where an agent of another process is served.",
    )
    credentials: Credentials | None = Field(
        default=None, description="For a 'url': by what this network is known there."
    )
    card_keys: tuple[CardKey, ...] = Field(
        default=(),
        description="For a 'url': who may have signed its card, as a thumbprint or a file with a"
        " JWK; without any it is believed as TLS is.",
    )
    description: str = Field(default="", description="What it is for, as its card says it.")
    instructions: str = Field(default="", description="What its model is told first.")
    model: Name | None = Field(default=None, description="One of 'models'; default: the first.")
    tools: tuple[ToolName, ...] = Field(
        default=(),
        description="What it may use: a whole server, or one tool of it as 'server.tool'.",
    )
    peers: tuple[Name, ...] = Field(default=(), description="Agents it may ask.")
    capabilities: tuple[CapabilityName, ...] | None = Field(
        default=None,
        description="What its work may cause here and at those it asks; default: no bound of its"
        " own. Effective is what everybody along a chain of calls may.",
    )
    skills: tuple[Skill, ...] = Field(default=(), description="What its card offers.")
    output: dict[str, Any] | Reference | None = Field(
        default=None, description="The shape of its answers: a JSON Schema, or 'module:Model'."
    )
    memory: Memory = Field(default=Memory(), description="Context, recall and recording.")
    restart: Literal["permanent", "transient", "temporary"] = Field(
        default="permanent",
        description="After a crash: always, only when abnormal, or never again.",
    )
    concurrency: Count = Field(default=4, description="Contexts it works on at once.")
    mailbox: Count = Field(
        default=64, description="Messages that may wait; then as many senders wait for room."
    )
    busy_after: Seconds = Field(
        default=5.0, description="Seconds that a caller from outside waits for room, then: busy."
    )
    patience: Seconds = Field(default=600.0, description="Seconds one task may take.")
    priority: int = Field(
        default=0,
        description="Whose questions a model's server takes first, where it knows priorities; lower"
        " is sooner.",
    )
    depends: tuple[Name, ...] = Field(default=(), description="Agents that start before it.")
    pool: Name = Field(
        default=DEFAULT_POOL,
        description="Where several processes share the store: those that run it, started with"
        " 'serve --pool NAME'.",
    )
    options: dict[str, Any] = Field(
        default={}, description="For kinds of your own; passed as they are."
    )

    @property
    def is_remote(self) -> bool:
        return self.url is not None

    @property
    def is_stock(self) -> bool:
        return self.kind in STOCK_KINDS


class Supervision(Entry):
    """What happens when agents crash, in OTP's words."""

    strategy: Literal["one_for_one", "one_for_all", "rest_for_one"] = Field(
        default="one_for_one",
        description="Restart the one, all, or the one and those that depend on it.",
    )
    intensity: Annotated[int, Field(ge=0)] = Field(default=3, description="Restarts allowed ...")
    period: Seconds = Field(default=5.0, description="... within this many seconds.")
    attempts: Count = Field(
        default=3, description="Crashes over one message before its task fails."
    )
    deaths: Annotated[int, Field(ge=3)] = Field(
        default=5,
        description="Ends of the whole process over one message, without progress, before its"
        " task fails.",
    )
    escalate: Literal["agent", "network"] = Field(
        default="network",
        description="Above the intensity: give up that agent, or the whole network.",
    )


class Store(Entry):
    """Where tasks, events and experience are kept."""

    url: str = Field(
        default="",
        description="sqlite:///FILE or postgresql://USER@HOST/DATABASE; default:"
        " .repertory/NETWORK.db beside the manifest.",
    )
    durability: Literal["process", "full"] = Field(
        default="process",
        description="Survive the death of the process, or of the machine's power too.",
    )
    lease: Annotated[float, Field(ge=1, le=600)] = Field(
        default=10.0,
        description="Where several processes share it: seconds after which the work of one that"
        " vanished is taken up by the others.",
    )
    index: str = Field(
        default="", description="The folder of the vector index; default: beside the store."
    )


class Budgets(Entry):
    """What one message given to the network may spend, with all it causes; null is no limit."""

    tokens: Count | None = None
    calls: Count | None = Field(default=None, description="Model and tool calls.")
    usd: Annotated[float, Field(gt=0)] | None = None
    seconds: Seconds | None = None


class Telemetry(Entry):
    """What is told to whoever watches."""

    spans: bool = Field(default=True, description="Keep spans in the network's store.")
    content: bool = Field(default=False, description="Also what was said; may hold personal data.")
    otlp: bool = Field(
        default=True, description="Send to OTEL_EXPORTER_OTLP_ENDPOINT too, where that is set."
    )


class Manifest(Entry):
    """A network of agents: who is in it, what they may use, and within which bounds."""

    network: Name = Field(description="The network's name.")
    description: str = Field(default="", description="What the network is for.")
    entry: Name = Field(default="", description="The agent that input goes to; default: the first.")
    models: dict[Name, AnyModel] = Field(
        default={}, description="Models by name; default: the embedded one, named 'embedded'."
    )
    embedder: EmbedderEntry = EmbedderEntry()
    tools: dict[Name, ToolServer] = Field(default={}, description="MCP servers by name.")
    agents: dict[Name, AgentEntry] = Field(min_length=1, description="Agents by name.")
    supervision: Supervision = Supervision()
    store: Store = Store()
    policy: PolicyRules = PolicyRules()
    oversight: Oversight | None = Field(
        default=None, description="The agent that watches the others and may hold them."
    )
    budgets: Budgets = Budgets()
    tenants: dict[TenantName, TenantLimits] = Field(
        default={},
        description="Bounds of those who share the network, by tenant; '*' for the others.",
    )
    telemetry: Telemetry = Telemetry()
    experience: Experience = Experience()
    report: Reference | None = Field(
        default=None, description="A function that prints a run's result."
    )
    serve: Serve = Serve()

    _path: Path = PrivateAttr(default=Path("network.yaml"))
    _source: YamlSource | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        agents, models = value.get("agents"), value.get("models")
        filled = dict(value)
        if "entry" not in value and isinstance(agents, dict) and agents:
            filled["entry"] = next(iter(agents))
        if not models and models in (None, {}):
            filled["models"] = {"embedded": {"engine": "embedded"}}
        return filled

    @property
    def path(self) -> Path:
        """The file this was read from, absolute."""
        return self._path

    @property
    def folder(self) -> Path:
        """The manifest's folder, absolute: relative paths and modules are looked for here."""
        return self._path.parent

    def with_options(self, options: Mapping[str, Mapping[str, Any]]) -> "Manifest":
        """This manifest with `options`, by agent, laid over what it says of its agents.

        Raises:
            ManifestError: It has no agent of such a name.
        """
        unknown = [name for name in options if name not in self.agents]
        if unknown:
            sentence = f"no agent named {unknown[0]!r} takes options; {did_you_mean(unknown[0], self.agents)}"
            raise ManifestError([self.finding("error", ("agents",), sentence)])
        agents = dict(self.agents)
        for name, given in options.items():
            entry = agents[name]
            agents[name] = entry.model_copy(update={"options": {**entry.options, **given}})
        return self.model_copy(update={"agents": agents})

    def resolve(self, path: str) -> Path:
        """A path of the manifest, relative to its folder unless absolute."""
        return self.folder / Path(path).expanduser()

    @property
    def store_url(self) -> str:
        """The store's SQLAlchemy URL, with SQLite's file as an absolute path."""
        url = self.store.url or f"sqlite:///.repertory/{self.network}.db"
        scheme, found, path = url.partition(":///")
        if not found or not scheme.startswith("sqlite") or path in ("", ":memory:"):
            return url
        return f"{scheme}:///{self.resolve(path)}"

    @property
    def store_path(self) -> Path | None:
        """The store's file when it is SQLite, else None."""
        scheme, found, path = self.store_url.partition(":///")
        sqlite = found and scheme.startswith("sqlite") and path not in ("", ":memory:")
        return Path(path) if sqlite else None

    @property
    def index_path(self) -> Path:
        """The folder of the vector index."""
        if self.store.index:
            return self.resolve(self.store.index)
        beside = self.store_path or self.resolve(f".repertory/{self.network}.db")
        return beside.with_name(beside.stem + "-index")

    def index_of(self, url: str) -> Path:
        """The folder of the vector index of another store than the manifest's."""
        if is_postgres(url):
            name = sha256(shown_url(url).encode()).hexdigest()[:12]
            return self.resolve(f".repertory/postgresql-{name}-index")
        return Path(url.removeprefix("sqlite:///") + "-index")

    @property
    def pools(self) -> tuple[str, ...]:
        """The pools of the agents that run here."""
        own = (entry.pool for entry in self.agents.values() if not entry.is_remote)
        return tuple(dict.fromkeys(own))

    def model_of(self, agent: str) -> str:
        """The name of the model that `agent` uses."""
        return self.agents[agent].model or next(iter(self.models))

    def tiers_of(self, model: str) -> frozenset[Tier]:
        """What a model is good enough for; a recorded one is as good as what it records."""
        entry = self.models[model]
        if isinstance(entry, RecordedModel) and not entry.tiers:
            return self.tiers_of(entry.inner) if entry.inner else frozenset(Tier)
        return frozenset(Tier) if Tier.JUDGE in entry.tiers else frozenset(entry.tiers)

    def tools_of(self, agent: str) -> dict[str, frozenset[str] | None]:
        """The tool servers of `agent`, each with the tools named, or None for all it offers."""
        given: dict[str, frozenset[str] | None] = {}
        for name in self.agents[agent].tools:
            server, dot, tool = name.partition(".")
            known = given.get(server, frozenset())
            given[server] = None if not dot or known is None else known | {tool}
        return given

    def start_order(self) -> tuple[str, ...]:
        """The agents, each after those it depends on, else as they are written."""
        # In the order of being put in, and quick to look into.
        order: dict[str, None] = {}

        def place(name: str) -> None:
            if name in order:
                return
            for other in self.agents[name].depends:
                place(other)
            order[name] = None

        for name in self.agents:
            place(name)
        return tuple(order)

    def line_of(self, *location: str | int) -> int:
        """The line of a key, as in `line_of("agents", "desk")`; 0 when not read from a file."""
        return self._source.line_of(location) if self._source else 0

    def finding(
        self, severity: Literal["error", "warning"], location: Location, sentence: str
    ) -> Finding:
        """A finding at a place of this manifest."""
        name = self._source.name if self._source else str(self._path)
        return Finding(severity, name, self.line_of(*location), dotted(location), sentence)


def load_manifest(path: str | Path) -> Manifest:
    """Read a manifest and check its shape and its names, without importing anything of it.

    Raises:
        ManifestError: With a finding for every fault that could be told.
    """
    return _read(load_yaml(Path(path)), Path(path))


def parse_manifest(text: str, *, folder: str | Path = ".", name: str = "network.yaml") -> Manifest:
    """A manifest from its text, as if it were the file `name` in `folder`.

    Raises:
        ManifestError: As `load_manifest`.
    """
    return _read(parse_yaml(text, name), Path(folder) / name)


def _read(source: YamlSource, path: Path) -> Manifest:
    try:
        manifest = Manifest.model_validate(source.data)
    except ValidationError as error:
        raise ManifestError(shape_findings(error, Manifest, source)) from None
    manifest._path = path.absolute()
    manifest._source = source
    findings = name_findings(manifest)
    if findings:
        raise ManifestError(findings)
    return manifest


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "skill"
