"""The runtime room's door: who runs the network.

`open_network(manifest)` is the way in for a program, `repertory.runtime.cli`
for a person. Every name is loaded when it is first used, because the libraries
behind the network cost seconds and a manifest is read without them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import (
        Finding,
        InputError,
        KindError,
        ManifestError,
        NetworkError,
        PolicyError,
        PortInUseError,
    )
    from .inspection import check_manifest
    from .kinds import load_kind, load_reference
    from .manifest import Manifest, load_manifest, parse_manifest
    from .network import Network, NetworkEvent
    from .opening import open_network
    from .policy import Action, Decision, Policy, Rule, Validator
    from .report import Outcome, RunReport
    from .summaries import TaskSummary
    from .web import network_app, serve

_MODULE_OF = {
    "Action": "policy",
    "Decision": "policy",
    "Finding": "errors",
    "InputError": "errors",
    "KindError": "errors",
    "Manifest": "manifest",
    "ManifestError": "errors",
    "Network": "network",
    "NetworkError": "errors",
    "NetworkEvent": "network",
    "Outcome": "report",
    "Policy": "policy",
    "PolicyError": "errors",
    "PortInUseError": "errors",
    "Rule": "policy",
    "RunReport": "report",
    "TaskSummary": "summaries",
    "Validator": "policy",
    "check_manifest": "inspection",
    "load_kind": "kinds",
    "load_manifest": "manifest",
    "load_reference": "kinds",
    "network_app": "web",
    "open_network": "opening",
    "parse_manifest": "manifest",
    "serve": "web",
}

__all__ = [
    "Action",
    "Decision",
    "Finding",
    "InputError",
    "KindError",
    "Manifest",
    "ManifestError",
    "Network",
    "NetworkError",
    "NetworkEvent",
    "Outcome",
    "Policy",
    "PolicyError",
    "PortInUseError",
    "Rule",
    "RunReport",
    "TaskSummary",
    "Validator",
    "check_manifest",
    "load_kind",
    "load_manifest",
    "load_reference",
    "network_app",
    "open_network",
    "parse_manifest",
    "serve",
]


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'repertory.runtime' has no attribute {name!r}")
    value = getattr(import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
