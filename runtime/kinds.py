"""The user's own code that a manifest names as `module:name`, imported from beside it.

The manifest's folder comes first on the import path while its modules load, and
only then. Two networks in one process may each have a `desk.py`: what a folder
loaded is kept apart from what another folder loaded under the same name.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module, invalidate_caches
from pathlib import Path
from threading import RLock
from traceback import StackSummary, walk_tb
from types import ModuleType
from typing import Any

from repertory.agents import Agent

from .errors import KindError, did_you_mean
from .manifest import Manifest
from .policy import Policy

_STOCK = {"worker": "Worker", "planner": "Planner", "human": "Human"}

# By folder: the modules that were loaded from it, by name.
_loaded: dict[Path, dict[str, ModuleType]] = {}
_loading = RLock()


def load_kind(manifest: Manifest, agent: str) -> type[Agent]:
    """The class that `agent` is of.

    Raises:
        KindError: Its module does not import, or holds no such subclass of `Agent`.
    """
    kind = manifest.agents[agent].kind
    if kind in _STOCK:
        stock: type[Agent] = getattr(import_module("repertory.agents"), _STOCK[kind])
        return stock
    found = load_reference(manifest, kind)
    if not (isinstance(found, type) and issubclass(found, Agent)):
        raise KindError(
            f"{kind!r} is no kind of agent: derive it from repertory.Agent and give it "
            "'async def handle(self, turn)'",
            reference=kind,
        )
    if getattr(found, "__abstractmethods__", None):
        raise KindError(
            f"{kind!r} cannot answer: it has no 'async def handle(self, turn)'", reference=kind
        )
    return found


def load_reference(manifest: Manifest, reference: str) -> Any:
    """What `module:name` stands for, looked for in the manifest's folder first.

    Raises:
        KindError: The module does not import, or has nothing of that name.
    """
    module_name, _, attributes = reference.partition(":")
    found: Any = _load_module(manifest.folder, module_name)
    for attribute in attributes.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError:
            names = [name for name in dir(found) if not name.startswith("_")]
            where = getattr(found, "__file__", None) or module_name
            known = did_you_mean(attribute, names)
            hint = f"; {known}" if known.startswith("did") else ""
            sentence = f"{reference!r} cannot be loaded: {where} has no {attribute!r}{hint}"
            raise KindError(sentence, reference=reference) from None
    return found


def load_policy(manifest: Manifest) -> Policy:
    """The network's policy, with the validators it names.

    Raises:
        KindError: A validator does not load, or cannot be called.
    """
    validators = []
    for reference in manifest.policy.validators:
        validator = load_reference(manifest, reference)
        if not callable(validator):
            raise KindError(f"the validator {reference!r} cannot be called", reference=reference)
        validators.append(validator)
    return Policy(manifest.policy.rules, validators)


def _load_module(folder: Path, name: str) -> ModuleType:
    with _loading, _first_on_path(folder) as kept:
        if name in kept:
            return kept[name]
        invalidate_caches()
        try:
            return import_module(name)
        except (Exception, SystemExit) as error:
            raise KindError(_why_not(error, folder, name), module=name) from error


@contextmanager
def _first_on_path(folder: Path) -> Iterator[dict[str, ModuleType]]:
    """Let imports look in `folder` first, and see no module of another manifest's folder."""
    kept = _loaded.setdefault(folder, {})
    strangers = {
        name: module
        for other, modules in _loaded.items()
        if other != folder
        for name, module in modules.items()
        if sys.modules.get(name) is module
    }
    for name in strangers:
        del sys.modules[name]
    sys.modules.update(kept)
    sys.path.insert(0, str(folder))
    try:
        yield kept
    finally:
        sys.path.remove(str(folder))
        for name, module in list(sys.modules.items()):
            if _is_from(module, folder):
                kept[name] = module
        sys.modules.update(strangers)


def _is_from(module: ModuleType, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or "site-packages" in file:
        return False
    return Path(file).is_relative_to(folder)


def _why_not(error: BaseException, folder: Path, name: str) -> str:
    # Without looking the lines up, which would read files in the event loop.
    frames = StackSummary.extract(walk_tb(error.__traceback__), lookup_lines=False)
    own = [frame for frame in frames if str(folder) in frame.filename]
    if isinstance(error, SyntaxError) and error.filename:
        return f"cannot import {name!r}: {error.filename}:{error.lineno}: {error.msg}"
    if isinstance(error, ModuleNotFoundError) and error.name == name.partition(".")[0]:
        return f"cannot import {name!r}: there is no such module in {folder} or on the import path"
    place = f"{own[-1].filename}:{own[-1].lineno}: " if own else ""
    return f"cannot import {name!r}: {place}{type(error).__name__}: {error}"
