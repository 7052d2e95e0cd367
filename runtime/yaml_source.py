"""A YAML file as plain data that still knows its lines.

Reads the YAML of a manifest: JSON's types, string keys, each key once. What the
data means is the manifest's business.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from .errors import Finding, ManifestError

Location = tuple[str | int, ...]

_MOST_NODES = 100_000
_TAG = "tag:yaml.org,2002:"
_NUMBER = r"[-+]?(?:0|[1-9][0-9]*)"


class _Loader(yaml.SafeLoader):
    """Safe YAML without the guesses of YAML 1.1: `on`, `no`, `1:30`, `007` and dates stay text."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - so its stubs declare it


for _kind, _pattern, _first in (
    ("bool", r"true|True|false|False", "tTfF"),
    ("null", r"~|null|Null|", ["~", "n", "N", ""]),
    ("int", rf"{_NUMBER}|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", rf"(?:{_NUMBER}(?:\.[0-9]*)?|[-+]?\.[0-9]+)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(_TAG + _kind, re.compile(rf"^(?:{_pattern})$"), list(_first))


@dataclass
class YamlSource:
    """What a file says, and the line of each of its keys and items."""

    name: str
    data: dict[str, Any]
    lines: dict[Location, int] = field(default_factory=dict)

    def line_of(self, location: Location) -> int:
        """The line of the key at `location`, or of the nearest thing around it."""
        for end in range(len(location), 0, -1):
            line = self.lines.get(location[:end])
            if line is not None:
                return line
        return 1


def load_yaml(path: Path, name: str = "") -> YamlSource:
    """Read `path`, called `name` in errors.

    Raises:
        ManifestError: It cannot be read, is not YAML, or is no mapping.
    """
    name = name or str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        sentence = "there is no such file; give the path of a manifest, as in 'repertory check network.yaml'"
        raise _fault(name, 0, sentence) from None
    except IsADirectoryError:
        sentence = "this is a folder; give the manifest in it, as in 'network.yaml'"
        raise _fault(name, 0, sentence) from None
    except UnicodeDecodeError as error:
        raise _fault(name, 0, f"not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise _fault(name, 0, f"cannot be read: {error.strerror}") from None
    return parse_yaml(text, name)


def parse_yaml(text: str, name: str) -> YamlSource:
    """Read a manifest's text, called `name` in errors."""
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise _fault(name, 1, "a manifest is a mapping that begins with 'network: NAME'")
        reader = _Reader(loader, name)
        data = reader.mapping(root, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        told = " ".join(str(part) for part in (error.context, error.problem) if part)
        raise _fault(name, line, f"not YAML: {told}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        told = f"it holds the character {chr(int(error.character))!r}"
        raise _fault(name, line, f"not YAML: {told}") from None
    except yaml.YAMLError as error:
        raise _fault(name, 1, f"not YAML: {error}") from None
    except RecursionError:
        raise _fault(name, 1, "nested too deeply") from None
    finally:
        if loader is not None:
            loader.dispose()
    if reader.findings:
        raise ManifestError(reader.findings)
    return YamlSource(name, data, reader.lines)


class _Reader:
    """Turns YAML's nodes into data; aliases are followed, but never round in circles."""

    def __init__(self, loader: _Loader, name: str) -> None:
        self.loader = loader
        self.name = name
        self.lines: dict[Location, int] = {}
        self.findings: list[Finding] = []
        self._open: set[int] = set()
        self._nodes = 0

    def mapping(self, node: yaml.MappingNode, at: Location) -> dict[str, Any]:
        self.loader.flatten_mapping(node)
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None:
                self._note(line, at, "a key must be plain text")
                continue
            if key in data:
                first = self.lines[(*at, key)]
                where = f"{dotted(at)} has" if at else "the manifest has"
                self._note(
                    line, (*at, key), f"{where} the key {key!r} twice; first on line {first}"
                )
                continue
            self.lines[(*at, key)] = line
            data[key] = self.value(value_node, (*at, key))
        return data

    def value(self, node: yaml.Node, at: Location) -> Any:
        self._nodes += 1
        if id(node) in self._open or self._nodes > _MOST_NODES:
            raise _fault(self.name, node.start_mark.line + 1, "an alias that holds itself")
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self.mapping(node, at)
            if isinstance(node, yaml.SequenceNode):
                for index, item in enumerate(node.value):
                    self.lines[(*at, index)] = item.start_mark.line + 1
                return [self.value(item, (*at, index)) for index, item in enumerate(node.value)]
            return self.loader.construct_object(node)
        finally:
            self._open.discard(id(node))

    def _note(self, line: int, at: Location, sentence: str) -> None:
        self.findings.append(Finding("error", self.name, line, dotted(at), sentence))


def dotted(location: Location) -> str:
    """A location as sentences write it: `policy.rules[0].when`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _fault(name: str, line: int, sentence: str) -> ManifestError:
    return ManifestError([Finding("error", name, line, "", sentence)])
