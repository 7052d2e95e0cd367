"""The simulators room: agents that stand for reviewers, audiences and analysts of behavior.

Each simulator is a package with a door of its own and is met by name, in a manifest
or on the command line: their numeric libraries load only then. What they share is
here: `statistics` (figures with intervals and controls), `pages` (reports as pages),
`commands` (the ports of the command line) and `errors`. Nothing here knows the
runtime, and the runtime meets a simulator by name only.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import SimulatorError, SimulatorInputError

_MODULE_OF = {"SimulatorError": "errors", "SimulatorInputError": "errors"}

__all__ = ["SimulatorError", "SimulatorInputError"]


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'repertory.simulators' has no attribute {name!r}")
    value = getattr(import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
