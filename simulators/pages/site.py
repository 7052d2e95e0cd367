"""The folder that a report is: templates in, files out, each written whole or not at all."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined

from repertory.simulators.errors import SimulatorError

_HOUSE = Path(__file__).parent / "templates"


def environment(templates: Path) -> Environment:
    """Templates of the folder `templates`, above the house's own; everything is escaped.

    A template begins with `{% extends "page.html" %}` and fills the blocks `title`,
    `lead` and `body`; `{% import "house.html" as house %}` gives the house's macros.
    A name that a template uses and nobody gave is an error, never an empty place.
    """
    loader = ChoiceLoader([FileSystemLoader(templates), FileSystemLoader(_HOUSE)])
    made = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["number"] = _number
    made.filters["percent"] = _percent
    return made


class Site:
    """A folder of pages. Files that are there already are replaced, others left alone."""

    def __init__(self, folder: Path, templates: Path) -> None:
        self.folder = folder
        self._environment = environment(templates)

    def render(self, template: str, **facts: Any) -> str:
        """The page that `template` makes of `facts`."""
        return self._environment.get_template(template).render(**facts)

    def write(self, files: Mapping[str, str | bytes]) -> list[Path]:
        """Write files by their names within the folder, and return their paths.

        Each appears whole: it is written beside its place and renamed into it.

        Raises:
            SimulatorError: The folder cannot be written.
        """
        written = []
        for name, content in files.items():
            path = self.folder / name
            data = content.encode() if isinstance(content, str) else content
            beside = path.with_name(f".{path.name}.{os.getpid()}.part")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                beside.write_bytes(data)
                beside.replace(path)
            except OSError as error:
                with suppress(OSError):
                    beside.unlink()
                sentence = f"{path}: the report cannot be written: {error.strerror}"
                raise SimulatorError(sentence, path=str(path)) from None
            written.append(path)
        return written


def _number(value: Any, digits: int = 2) -> str:
    """A number for reading; "–" for what is not there or cannot be told."""
    if value is None or value != value:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{float(value):,.{digits}f}"


def _percent(value: Any, digits: int = 0) -> str:
    return "–" if value is None or value != value else f"{100 * float(value):.{digits}f}%"
