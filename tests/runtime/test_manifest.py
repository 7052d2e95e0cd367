from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from repertory.agents import Tier
from repertory.runtime import (
    Finding,
    KindError,
    Manifest,
    ManifestError,
    check_manifest,
    load_kind,
    load_manifest,
    load_reference,
    parse_manifest,
)

SOUND = """\
network: invoice-desk
models:
  small: {engine: embedded}
  big:
    engine: openai
    url: http://127.0.0.1:8000/v1
    model: qwen
    tiers: [judge]
tools:
  ledger: {command: [python, ledger.py], idempotent: all}
agents:
  desk: {kind: "desk:Desk", peers: [clerk, critic], tools: [ledger.find_vendor]}
  clerk: {kind: human, skills: [Decides about large payments]}
  critic: {model: big, depends: [desk]}
"""


def faults(text: str) -> list[str]:
    """The sentences of the error that `text` deserves."""
    with pytest.raises(ManifestError) as caught:
        parse_manifest(text)
    return str(caught.value).splitlines()


def found(text: str) -> tuple[Finding, ...]:
    """What is found wrong with `text`; anything but a ManifestError comes out."""
    try:
        parse_manifest(text)
    except ManifestError as error:
        return tuple(error.findings)
    return ()


def test_a_sound_manifest_is_read_with_its_defaults() -> None:
    """Ours: what is not said has a value that works."""
    manifest = parse_manifest(SOUND)
    assert manifest.entry == "desk"
    assert manifest.agents["clerk"].skills[0].id == "decides-about-large-payments"
    assert manifest.agents["desk"].restart == "permanent"
    assert manifest.model_of("desk") == "small"
    assert manifest.supervision.strategy == "one_for_one"
    assert manifest.start_order() == ("desk", "clerk", "critic")


def test_a_manifest_without_models_has_the_embedded_one() -> None:
    """Ours: the first network runs without any server."""
    manifest = parse_manifest("network: n\nagents: {a: {}}\n")
    assert manifest.models["embedded"].engine == "embedded"
    assert manifest.tiers_of("embedded") == {Tier.SCORE, Tier.EXTRACT}


def test_paths_are_relative_to_the_manifests_folder(tmp_path: Path) -> None:
    """Ours: a network means the same whatever folder it is run from."""
    manifest = parse_manifest(SOUND, folder=tmp_path)
    assert manifest.store_url == f"sqlite:///{tmp_path}/.repertory/invoice-desk.db"
    assert manifest.index_path == tmp_path / ".repertory" / "invoice-desk-index"
    other = parse_manifest(SOUND + "store: {url: 'sqlite:////var/x.db'}\n", folder=tmp_path)
    assert other.store_path == Path("/var/x.db")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "critic: {model",
            "critic: {intructions: x, model",
            "network.yaml:14: agents.critic has no key 'intructions'; did you mean 'instructions'?",
        ),
        (
            "network: invoice-desk",
            "netwrk: invoice-desk",
            "network.yaml:1: the manifest has no key 'netwrk'; did you mean 'network'?",
        ),
        (
            "engine: embedded}",
            "engine: embedded, limits: {concurency: 2}}",
            "network.yaml:3: models.small.limits has no key 'concurency'; did you mean 'concurrency'?",
        ),
        (
            "engine: openai",
            "engine: opneai",
            "network.yaml:4: models.big has an unknown engine 'opneai'; did you mean 'openai'?",
        ),
        (
            "    model: qwen\n",
            "",
            "network.yaml:4: models.big needs the key 'model'",
        ),
        (
            "tiers: [judge]",
            "tiers: [jugde]",
            (
                "network.yaml:8: models.big.tiers[0] cannot be 'jugde'; it is one of 'score', 'extract', "
                "'generate', 'judge'; did you mean 'judge'?"
            ),
        ),
        (
            "kind: human",
            "kind: human, concurrency: four",
            "network.yaml:13: agents.clerk.concurrency is 'four'; expected a whole number",
        ),
        (
            "kind: human",
            "kind: human, concurrency: 0",
            (
                "network.yaml:13: agents.clerk.concurrency is 0; "
                "input should be greater than or equal to 1"
            ),
        ),
        (
            "kind: human",
            "kind: humane",
            (
                "network.yaml:13: agents.clerk.kind cannot be 'humane'; "
                "expected 'worker', 'planner', 'human', or 'module:Class'"
            ),
        ),
        (
            "command: [python, ledger.py], ",
            "",
            (
                "network.yaml:10: tools.ledger needs either 'command' (an argument list) or 'url', "
                "not both"
            ),
        ),
        (
            "command: [python, ledger.py]",
            "command: python ledger.py",
            "network.yaml:10: tools.ledger.command is 'python ledger.py'; expected a list",
        ),
        (
            "peers: [clerk, critic]",
            "peers: [clerk, critc]",
            (
                "network.yaml:12: agents.desk has 'critc' among its peers, but no agent has that name; "
                "did you mean 'critic'?"
            ),
        ),
        (
            "peers: [clerk, critic]",
            "peers: [desk]",
            "network.yaml:12: agents.desk has itself among its peers",
        ),
        (
            "{model: big,",
            "{model: bigg,",
            "network.yaml:14: agents.critic uses a model 'bigg' not in 'models'; did you mean 'big'?",
        ),
        (
            "tools: [ledger.find_vendor]",
            "tools: [leger]",
            (
                "network.yaml:12: agents.desk uses a tool server 'leger' not in 'tools'; "
                "did you mean 'ledger'?"
            ),
        ),
        (
            "idempotent: all",
            "allow: [post_invoice]",
            (
                "network.yaml:12: agents.desk uses 'ledger.find_vendor', which tools.ledger does not "
                "allow; known: 'post_invoice'"
            ),
        ),
        (
            "network: invoice-desk",
            "network: invoice-desk\nentry: dsk",
            "network.yaml:2: entry names no agent: 'dsk'; did you mean 'desk'?",
        ),
        (
            "kind: human",
            "url: http://127.0.0.1:9/agents/clerk/mcp, instructions: x",
            "network.yaml:13: agents.clerk runs elsewhere ('url'), so 'instructions' is not for here",
        ),
        (
            "critic: {model",
            "clerk: {model",
            "network.yaml:14: agents has the key 'clerk' twice; first on line 13",
        ),
        (
            "network: invoice-desk",
            "network: [invoice-desk",
            (
                "network.yaml:2: not YAML: while parsing a flow sequence expected ',' or ']', "
                "but got ':'"
            ),
        ),
    ],
)
def test_each_fault_is_told_in_a_sentence_with_its_line(old: str, new: str, sentence: str) -> None:
    """Ours: file, line, what is wrong, and the nearest known thing."""
    assert old in SOUND
    assert sentence in faults(SOUND.replace(old, new, 1))


def test_several_faults_are_told_at_once_in_the_order_of_the_file() -> None:
    """Ours: nobody corrects a file one error at a time."""
    broken = SOUND.replace("kind: human", "kind: human, mailbx: 3").replace("qwen", "[]")
    assert faults(broken) == [
        "network.yaml:7: models.big.model is a list; expected text",
        "network.yaml:13: agents.clerk has no key 'mailbx'; did you mean 'mailbox'?",
    ]


def test_a_circle_of_depends_is_told_in_its_order() -> None:
    """Ours: the sentence shows the way round."""
    circle = "network: n\nagents:\n  a: {depends: [b]}\n  b: {depends: [c]}\n  c: {depends: [a]}\n"
    assert faults(circle) == [
        (
            "network.yaml:3: agents depend on each other in a circle: 'a' -> 'b' -> 'c' -> 'a'; "
            "take one 'depends' away"
        )
    ]


def test_the_error_keeps_its_facts() -> None:
    """Ours: a program need not read the sentence."""
    with pytest.raises(ManifestError) as caught:
        parse_manifest(SOUND.replace("kind: human", "kind: human, mailbx: 3"))
    error = caught.value
    assert (error.file, error.line, error.key) == ("network.yaml", 13, "agents.clerk.mailbx")
    assert error.findings[0].severity == "error"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            None,
            (
                "there is no such file; give the path of a manifest, as in "
                "'repertory check network.yaml'"
            ),
        ),
        (b"\xff\xfe", "not UTF-8 text (byte 0)"),
        (b"", "a manifest is a mapping that begins with 'network: NAME'"),
        (b"- a\n", "a manifest is a mapping that begins with 'network: NAME'"),
        (b"network: n\nagents: &a {x: *a}\n", "an alias that holds itself"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused(
    tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    """Ours: bad input gets a sentence, never a traceback."""
    path = tmp_path / "n.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ManifestError) as caught:
        load_manifest(path)
    assert str(caught.value).startswith(str(path))
    assert str(caught.value).endswith(sentence)


def test_words_that_old_yaml_took_for_booleans_stay_words() -> None:
    """Ours: a vendor from Norway, `no`, is no `false`."""
    manifest = parse_manifest(
        "network: n\nagents: {a: {options: {country: no, on: yes, at: 1:30, account: 007, day: 2026-01-01}}}\n"
    )
    assert manifest.agents["a"].options == {
        "country": "no",
        "on": "yes",
        "at": "1:30",
        "account": "007",
        "day": "2026-01-01",
    }


def test_the_json_schema_accepts_what_the_manifest_accepts() -> None:
    """Ours: an editor that follows the schema agrees with `repertory check`."""
    schema = Manifest.model_json_schema()
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    validator.validate(yaml.safe_load(SOUND))
    broken = yaml.safe_load(SOUND.replace("kind: human", "kind: human, mailbx: 3"))
    assert not validator.is_valid(broken)


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Ours: nothing but a ManifestError comes out of a manifest."""
    assert all(finding.sentence for finding in found(text))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "network",
                        "agents",
                        "models",
                        "tools",
                        "policy",
                        "rules",
                        "engine",
                        "peers",
                        "a",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_data_is_read_or_refused_with_lines(data: Any) -> None:
    """Ours: every fault of any shape has a sentence and a line."""
    findings = found(yaml.safe_dump(data, sort_keys=False))
    assert all(finding.line > 0 and finding.sentence for finding in findings)


DESK = """\
from repertory.agents import Agent, Tier
from words import GREETING

class Desk(Agent):
    duty = Tier.JUDGE
    greeting = GREETING
    async def handle(self, turn): ...

class Idle(Agent): ...

def report(run): ...
"""


def network(folder: Path, extra: str = "", kind: str = "desk:Desk", words: str = "hello") -> Path:
    """A folder with a manifest and the modules that it names."""
    folder.mkdir(exist_ok=True)
    (folder / "desk.py").write_text(DESK)
    (folder / "words.py").write_text(f"GREETING = {words!r}\n")
    path = folder / "network.yaml"
    path.write_text(f"network: n\nagents:\n  desk: {{kind: '{kind}'}}\n{extra}")
    return path


def test_a_kind_is_imported_from_beside_the_manifest(tmp_path: Path) -> None:
    """Ours: `module:Class` needs no installation and no PYTHONPATH."""
    kind = load_kind(load_manifest(network(tmp_path)), "desk")
    assert kind.__name__ == "Desk"


def test_two_networks_may_each_have_a_module_of_the_same_name(tmp_path: Path) -> None:
    """Ours: two networks live in one process."""
    one = load_manifest(network(tmp_path / "one", words="one"))
    two = load_manifest(network(tmp_path / "two", words="two"))
    greetings = [load_reference(each, "desk:Desk.greeting") for each in (one, two, one)]
    assert greetings == ["one", "two", "one"]


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (
            "dsk:Desk",
            "cannot import 'dsk': there is no such module in {folder} or on the import path",
        ),
        (
            "desk:Dsk",
            "'desk:Dsk' cannot be loaded: {folder}/desk.py has no 'Dsk'; did you mean 'Desk'?",
        ),
        (
            "desk:report",
            (
                "'desk:report' is no kind of agent: derive it from repertory.Agent and give "
                "it 'async def handle(self, turn)'"
            ),
        ),
        ("desk:Idle", "'desk:Idle' cannot answer: it has no 'async def handle(self, turn)'"),
    ],
)
def test_a_kind_that_does_not_load_is_told(tmp_path: Path, kind: str, sentence: str) -> None:
    """Ours: the sentence says where it was looked for."""
    with pytest.raises(KindError) as caught:
        load_kind(load_manifest(network(tmp_path, kind=kind)), "desk")
    assert str(caught.value) == sentence.format(folder=tmp_path)


def test_a_module_that_fails_to_import_is_told_with_its_line(tmp_path: Path) -> None:
    """Ours: a module that does not import is bad input with a place."""
    path = network(tmp_path)
    (tmp_path / "words.py").write_text("import sys\nsys.exit('no words')\n")
    findings = check_manifest(path)
    assert [str(finding) for finding in findings] == [
        f"{path}:3: agents.desk: cannot import 'desk': {tmp_path}/words.py:2: SystemExit: no words"
    ]


def test_check_says_when_a_network_asks_more_of_a_model_than_its_tier(tmp_path: Path) -> None:
    """Ours: the embedded model extracts, and does not judge."""
    findings = check_manifest(network(tmp_path))
    assert [str(finding) for finding in findings] == [
        (
            f"{tmp_path}/network.yaml:3: agents.desk judges and plans, which asks for tier 'judge', but "
            "models.embedded has score, extract; use a model of that tier"
        )
    ]


def test_check_tells_of_everything_around_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours: errors and warnings come together, in the order of the file."""
    monkeypatch.delenv("DESK_KEY", raising=False)
    path = network(
        tmp_path,
        extra="""\
models:
  big: {engine: openai, url: "http://127.0.0.1:1/v1", model: m, api_key_env: DESK_KEY, tiers: [judge]}
tools:
  ledger: {command: [python, ledger.py]}
policy:
  rules:
    - {name: r, decision: ask, tool: leger.post}
  validators: ["desk:nobody"]
report: desk:report
serve: {host: 0.0.0.0}
""",
    )
    told = [(f.severity, f.line, f.key) for f in check_manifest(path)]
    assert told == [
        ("warning", 5, "models.big.api_key_env"),
        ("warning", 7, "tools.ledger"),
        ("error", 7, "tools.ledger.command"),
        ("error", 10, "policy.rules[0].tool"),
        ("error", 11, "policy.validators[0]"),
        ("error", 13, "serve.host"),
        ("warning", 13, "serve.host"),
    ]
