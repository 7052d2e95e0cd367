"""The experience store: packs, their steps, checks and lineage, and how they are found again.

SQL is the truth and the vector index is rebuilt from it. Names load when they
are first used: `sqlmodel`, `chromadb` and `onnxruntime` each cost seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checker import Checker, Limits, open_checker, run_check
    from .checks import CheckSpec, Verdict
    from .database import Database, Durability, open_database, sqlite_path
    from .digests import Clock, digest_of, utc_now
    from .drafts import Claim, Cost, Origin, Outcome, PackDraft, PackRef, Rights, StepDraft
    from .embedder import Embedder, HashEmbedder, MiniLM
    from .errors import (
        CheckError,
        DraftInvalidError,
        IndexUnavailableError,
        PackNotFoundError,
        StoreError,
        StoreOwnedError,
        StoreVersionError,
        WeightsError,
    )
    from .hits import Hit, Reasons
    from .index import ChromaIndex, MemoryIndex, VectorIndex
    from .ledger import LedgerReport
    from .recall import Floor
    from .record import pack_rows
    from .store import PackStore, open_pack_store
    from .tables import Check, CheckVerdict, Edge, LedgerEntry, Pack, Step
    from .weights import (
        SMOLLM2,
        WEIGHTS,
        find_weights,
        install_weights,
        missing_weights,
        verify_weights,
    )

_MODULE_OF = {
    "Check": "tables",
    "CheckError": "errors",
    "CheckSpec": "checks",
    "CheckVerdict": "tables",
    "Checker": "checker",
    "ChromaIndex": "index",
    "Claim": "drafts",
    "Clock": "digests",
    "Cost": "drafts",
    "Database": "database",
    "DraftInvalidError": "errors",
    "Durability": "database",
    "Edge": "tables",
    "Embedder": "embedder",
    "Floor": "recall",
    "HashEmbedder": "embedder",
    "Hit": "hits",
    "IndexUnavailableError": "errors",
    "LedgerEntry": "tables",
    "LedgerReport": "ledger",
    "Limits": "checker",
    "MemoryIndex": "index",
    "MiniLM": "embedder",
    "Origin": "drafts",
    "Outcome": "drafts",
    "Pack": "tables",
    "PackDraft": "drafts",
    "PackNotFoundError": "errors",
    "PackRef": "drafts",
    "PackStore": "store",
    "Reasons": "hits",
    "Rights": "drafts",
    "SMOLLM2": "weights",
    "Step": "tables",
    "StepDraft": "drafts",
    "StoreError": "errors",
    "StoreOwnedError": "errors",
    "StoreVersionError": "errors",
    "VectorIndex": "index",
    "Verdict": "checks",
    "WEIGHTS": "weights",
    "WeightsError": "errors",
    "digest_of": "digests",
    "find_weights": "weights",
    "install_weights": "weights",
    "missing_weights": "weights",
    "open_checker": "checker",
    "open_database": "database",
    "open_pack_store": "store",
    "pack_rows": "record",
    "run_check": "checker",
    "sqlite_path": "database",
    "utc_now": "digests",
    "verify_weights": "weights",
}

__all__ = [
    "SMOLLM2",
    "WEIGHTS",
    "Check",
    "CheckError",
    "CheckSpec",
    "CheckVerdict",
    "Checker",
    "ChromaIndex",
    "Claim",
    "Clock",
    "Cost",
    "Database",
    "DraftInvalidError",
    "Durability",
    "Edge",
    "Embedder",
    "Floor",
    "HashEmbedder",
    "Hit",
    "IndexUnavailableError",
    "LedgerEntry",
    "LedgerReport",
    "Limits",
    "MemoryIndex",
    "MiniLM",
    "Origin",
    "Outcome",
    "Pack",
    "PackDraft",
    "PackNotFoundError",
    "PackRef",
    "PackStore",
    "Reasons",
    "Rights",
    "Step",
    "StepDraft",
    "StoreError",
    "StoreOwnedError",
    "StoreVersionError",
    "VectorIndex",
    "Verdict",
    "WeightsError",
    "digest_of",
    "find_weights",
    "install_weights",
    "missing_weights",
    "open_checker",
    "open_database",
    "open_pack_store",
    "pack_rows",
    "run_check",
    "sqlite_path",
    "utc_now",
    "verify_weights",
]


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
