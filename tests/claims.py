"""The registry of claims: what we say of papers and specifications, each with its test.

A test that proves a claim carries `@claim("a2a:life-cycle")`; test_claims.py
checks that every claim has a test and that no test names a claim that is not
here. `python -m tests.claims` writes the README's table of systems from this
file (`just docs`). What is not proven by a test is not in here, so nothing is
advertised that does not run. No number of a paper is claimed as ours.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
README = REPOSITORY / "README.md"
BEGIN = "<!-- systems: written by `just docs` from tests/claims.py -->"
END = "<!-- systems: end -->"


@dataclass(frozen=True, slots=True)
class System:
    """A paper, a specification or a tradition that something here follows."""

    key: str
    name: str
    source: str


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence that a test proves; `id` is `system:what`."""

    id: str
    room: str
    sentence: str

    @property
    def system(self) -> str:
        return self.id.partition(":")[0]


SYSTEMS = (
    System("a2a", "A2A 1.0", "the Agent2Agent protocol's specification"),
    System("mcp", "MCP 2026-07-28", "the Model Context Protocol's specification"),
    System("goalfymax", "GoalfyMax", "Experience Packs; its digest, its own text could not be had"),
    System("egs", "EGS", "simulating audiences, Liu et al. 2023; its text could not be had whole"),
    System("xpeerd", "xPeerd", "simulated peer review, Saqr 2025; its text could not be had whole"),
    System(
        "substanreview", "SubstanReview", "claims and evidence in human reviews, Guo et al. 2023"
    ),
    System("agentreview", "AgentReview", "a simulated panel, Jin et al. 2024; its digest"),
    System("evocua", "EvoCUA", "its digest, its own text could not be had"),
    System("dmm", "DMM-Gov", "Memory in LLMs: governance of what is remembered"),
    System("together", "Stronger Together", "its abstract, and the texts of the RAIL licences"),
    System(
        "habd", "HABD", "how agents behave, Zhang et al. 2025; its formulas are left open there"
    ),
    System("otp", "Erlang/OTP", "the supervisor's documentation"),
    System("otel", "OpenTelemetry", "the conventions for generative AI, in development"),
)

CLAIMS = (
    Claim(
        "a2a:proto-json",
        "protocol",
        "Every message of A2A is read and printed exactly as the official types do.",
    ),
    Claim(
        "a2a:life-cycle",
        "protocol",
        "A task moves only where the table of legal moves says, and never out of its end.",
    ),
    Claim(
        "a2a:complete-streams",
        "protocol",
        "A subscriber gets every event once and in order, whatever the wire does.",
    ),
    Claim(
        "a2a:resumed-streams",
        "protocol",
        "A stream that was cut goes on after the last event that was seen.",
    ),
    Claim(
        "a2a:errors-by-reason",
        "protocol",
        "An error keeps its class over every link, by its reason and not by its number.",
    ),
    Claim(
        "a2a:standard-bindings",
        "protocol",
        "The official SDK's client, unmodified, works over JSON-RPC and HTTP+JSON.",
    ),
    Claim(
        "a2a:our-client",
        "protocol",
        "An agent behind the official SDK's server is asked like one of ours.",
    ),
    Claim(
        "a2a:earlier",
        "protocol",
        "A client of A2A 0.3 is answered in 0.3.",
    ),
    Claim(
        "a2a:webhooks",
        "protocol",
        "A webhook gets every event of its task in order, signed and with its credentials.",
    ),
    Claim(
        "a2a:card",
        "protocol",
        "The agent card lies where A2A clients and where MCP clients look for it.",
    ),
    Claim(
        "a2a:custom-binding",
        "protocol",
        "The official SDK's client, unmodified, works through the binding as its transport.",
    ),
    Claim(
        "a2a:once",
        "runtime",
        "A message is one task for its principal, however often it is sent.",
    ),
    Claim(
        "a2a:scoping",
        "runtime",
        "The task of another answers exactly as one that does not exist.",
    ),
    Claim(
        "a2a:delegation",
        "runtime",
        "A delegated call may do what each of its chain may, and its refusal names the chain.",
    ),
    Claim(
        "a2a:replicas",
        "runtime",
        "A stream begun at one process over a journal goes on at another.",
    ),
    Claim(
        "a2a:signed-cards",
        "protocol",
        "A card is signed over its canonical form, and believed by the key that was pinned.",
    ),
    Claim(
        "mcp:extension",
        "protocol",
        "The official SDK's client, unmodified, completes a task through the extension.",
    ),
    Claim(
        "mcp:tasks",
        "protocol",
        "A tool call that becomes a task returns as if it had not, also after a restart.",
    ),
    Claim(
        "mcp:host",
        "protocol",
        "A skill is a tool for any MCP host, of either era, with its questions on the way.",
    ),
    Claim(
        "mcp:one-trace",
        "runtime",
        "A task that an MCP host begins is one trace through the agents of several processes.",
    ),
    Claim(
        "mcp:both-eras",
        "runtime",
        "A tool server is spoken to in the version it knows, stateless or with a handshake.",
    ),
    Claim(
        "mcp:request-state",
        "runtime",
        "What a client carries between two rounds opens on every process over a journal.",
    ),
    Claim(
        "mcp:rebinding",
        "protocol",
        "A foreign Host or Origin is refused on every path of a listener.",
    ),
    Claim(
        "mcp:resource-server",
        "protocol",
        "A token counts when its issuer, audience, expiry, algorithm, key and scopes all do.",
    ),
    Claim(
        "mcp:api-keys",
        "runtime",
        "A key opens every face for what it may ask, and a refusal is in the audit.",
    ),
    Claim(
        "mcp:own-identity",
        "protocol",
        "An agent calls on by its own identity, and never by its caller's token.",
    ),
    Claim(
        "mcp:pinned-tools",
        "runtime",
        "A tool that changed is refused until a person approves it.",
    ),
    Claim(
        "mcp:outgoing",
        "protocol",
        "No URL that a stranger names is called at an address that is not public.",
    ),
    Claim(
        "mcp:trace-context",
        "protocol",
        "Trace context travels with every call, to agents and to tools.",
    ),
    Claim(
        "goalfymax:why-how-check",
        "runtime",
        "A task that ended leaves a pack with its WHY, its HOW and its CHECK.",
    ),
    Claim(
        "goalfymax:from-the-journal",
        "xp_store",
        "A pack is written in the transaction that ends its task, or not at all.",
    ),
    Claim(
        "goalfymax:trust",
        "xp_store",
        "Only a check that decided moves a pack's trust.",
    ),
    Claim(
        "evocua:gates",
        "xp_store",
        "A check counts only after it was false on the start, true on the reference, always"
        " the same, not fooled by wrong results, and no repetition of a held-out task.",
    ),
    Claim(
        "together:inheritance",
        "xp_store",
        "No chain of derivations loses a restriction, whatever the parents' licences.",
    ),
    Claim(
        "together:matrix",
        "xp_store",
        "Every cell of licences, purposes and actions is allowed or refused as a hand-made"
        " table says.",
    ),
    Claim(
        "dmm:inhibition",
        "xp_store",
        "A question that nothing supports is answered with silence and its reason.",
    ),
    Claim(
        "dmm:forget",
        "xp_store",
        "After a forget the store equals, digest for digest, one that never held it, and no"
        " byte of it is left in its files.",
    ),
    Claim(
        "dmm:ledger",
        "xp_store",
        "Any entry that was altered, removed, put in or moved is found.",
    ),
    Claim(
        "dmm:release",
        "xp_store",
        "A change names its thresholds first, is tried on retained replays, and can be taken"
        " back with everything that came of it.",
    ),
    Claim(
        "goalfymax:reuse",
        "xp_store",
        "Whether packs help is said from tasks that were held out by lot, or not at all.",
    ),
    Claim(
        "goalfymax:dialogue",
        "runtime",
        "A dialogue is remembered within its context, up to a bound.",
    ),
    Claim(
        "goalfymax:safety",
        "runtime",
        "Every action passes the policy, and nothing that is said can widen it.",
    ),
    Claim(
        "egs:candidates",
        "simulators",
        "Every set of advice up to a size gives as many candidates as it should, and none twice.",
    ),
    Claim(
        "egs:position-consistency",
        "simulators",
        "A pair is asked in both orders; a judge that prefers a place gives no signal.",
    ),
    Claim(
        "egs:planted",
        "simulators",
        "A preference that was planted is found, and weights decide between audiences.",
    ),
    Claim(
        "egs:budget",
        "simulators",
        "With n log n pairs a judge without noise finds the same winner as with all.",
    ),
    Claim(
        "egs:facts",
        "simulators",
        "Numbers, dates and names that no fact of the scenario has are flagged.",
    ),
    Claim(
        "egs:length",
        "simulators",
        "On topics it never saw the trained judge beats 'longer wins', and the control is shown.",
    ),
    Claim(
        "egs:segments",
        "simulators",
        "Readers for and against agree less than the same votes parted at random.",
    ),
    Claim(
        "otp:restart-kinds",
        "runtime",
        "Permanent, transient and temporary agents are restarted as in OTP.",
    ),
    Claim(
        "otp:strategies",
        "runtime",
        "A crash restarts one, all, or the rest of the agents, as in OTP.",
    ),
    Claim(
        "otp:intensity",
        "runtime",
        "More restarts than the intensity within the period are too many.",
    ),
    Claim(
        "otel:names",
        "runtime",
        "Spans have the names, kinds and attributes of the conventions.",
    ),
    Claim(
        "otel:one-trace",
        "runtime",
        "A task that was resumed goes on in its trace.",
    ),
    Claim(
        "otel:content",
        "runtime",
        "What was said stays out of spans unless it is asked for.",
    ),
    Claim(
        "xpeerd:units",
        "simulators",
        "Every unit of a manuscript is the slice of its page that it says it is.",
    ),
    Claim(
        "xpeerd:anchors",
        "simulators",
        "A point of a review stands only on an anchor that a machine found on its page.",
    ),
    Claim(
        "xpeerd:grounded",
        "simulators",
        "Claims and critiques are weighed by the grounded extension, whatever their order.",
    ),
    Claim(
        "xpeerd:integrity",
        "simulators",
        "Planted errors of sixteen kinds are found, and hardly anything else is flagged.",
    ),
    Claim(
        "xpeerd:decision",
        "simulators",
        "A recommendation is the first of four rules that holds, shown with its numbers.",
    ),
    Claim(
        "xpeerd:guards",
        "simulators",
        "A report that fails one of its guards is not exported.",
    ),
    Claim(
        "xpeerd:study1",
        "simulators",
        "Study 1's compliance is computed by its rule, as a compatibility metric only.",
    ),
    Claim(
        "xpeerd:indicators",
        "simulators",
        "A batch is told in Study 1's figures, with intervals and corrected tests.",
    ),
    Claim(
        "xpeerd:concerns",
        "simulators",
        "Human concerns are matched to issues one to one, beside the issues of other manuscripts.",
    ),
    Claim(
        "substanreview:claims",
        "simulators",
        "Claims of a human review are found with their polarity and their evidence.",
    ),
    Claim(
        "agentreview:traits",
        "simulators",
        "Traits of reviewers and chairs move a panel the way they should.",
    ),
    Claim(
        "agentreview:placebo",
        "simulators",
        "A trait that does nothing has no effect, on the same seeds.",
    ),
    Claim(
        "xpeerd:reproducible",
        "simulators",
        "The same manuscript and profile give the same bytes, also after a kill.",
    ),
    Claim(
        "habd:stages",
        "simulators",
        "What an actor does is measured at each stage of the network behavior lifecycle, and a stage that a log lacks is named.",
    ),
    Claim(
        "habd:null",
        "simulators",
        "An automaton among clerks is found against the clerks' own null, by role, and no clerk is accused.",
    ),
    Claim(
        "habd:labels",
        "simulators",
        "Labels without meaning give no preference to either side, and no verdict.",
    ),
    Claim(
        "habd:plans",
        "simulators",
        "What was planned is held against what was done, and predicts which real runs succeed.",
    ),
    Claim(
        "habd:choices",
        "simulators",
        "Loss aversion, weighting and consistency of known choosers are recovered, and an agent can be asked for them.",
    ),
    Claim(
        "habd:supervisor",
        "simulators",
        "An agent watches the others over A2A, names measure, null and p, and its hold stops an action until a person decides.",
    ),
    Claim(
        "habd:traced",
        "runtime",
        "Every ruling on an action is a span of its own.",
    ),
    Claim(
        "habd:switching",
        "simulators",
        "An attacker who switches profiles misleads the profiler; by how much is measured.",
    ),
    Claim(
        "habd:evidence",
        "simulators",
        "A verdict's evidence is a chain of hashes that shows whatever is altered, taken out or moved.",
    ),
)


def claim(identity: str) -> pytest.MarkDecorator:
    """Mark a test as the proof of a claim."""
    if identity not in {known.id for known in CLAIMS}:
        raise LookupError(f"no claim {identity!r} in tests/claims.py")
    return pytest.mark.claim(identity)


def used_claims() -> Iterator[tuple[str, str]]:
    """Every claim that a test carries, with the test's id, from the tests' source."""
    for path in sorted((REPOSITORY / "tests").rglob("test_*.py")):
        place = path.relative_to(REPOSITORY).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for identity in _claims_on(node):
                    yield identity, f"{place}::{node.name}"


def _claims_on(test: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    for decorator in test.decorator_list:
        match decorator:
            case ast.Call(
                func=ast.Name(id="claim") | ast.Attribute(attr="claim"),
                args=[ast.Constant(value=str(identity))],
            ):
                yield identity


def table() -> str:
    """The table of systems as it stands in the README."""
    proofs: dict[str, list[str]] = {}
    for identity, test in used_claims():
        proofs.setdefault(identity, []).append(test)
    rows = ["| System | What holds here | Room | Proven in |", "|---|---|---|---|"]
    for system in SYSTEMS:
        name = f"**{system.name}**: {system.source}"
        for known in CLAIMS:
            if known.system == system.key:
                files = sorted({test.partition("::")[0] for test in proofs.get(known.id, [])})
                links = ", ".join(f"[{Path(file).name}]({file})" for file in files)
                rows.append(f"| {name} | {known.sentence} | `{known.room}` | {links} |")
                name = ""
    return "\n".join(rows)


def with_table(text: str) -> str:
    """The README's text with the table of today between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
