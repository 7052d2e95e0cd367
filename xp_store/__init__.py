"""The experience store: packs, their steps, checks and lineage, and how they are found again.

SQL is the truth and the vector index is rebuilt from it. Names load when they
are first used: `sqlmodel`, `chromadb` and `onnxruntime` each cost seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .admission import AdmissionStatus
    from .arrivals import Imported, read_bundle
    from .bundle import Exported
    from .checker import Checker, Limits, open_checker, run_check
    from .checks import CheckSpec, Verdict
    from .database import Database, Durability, open_database, sqlite_path
    from .digests import Clock, digest_of, utc_now
    from .drafts import Claim, Cost, Origin, Outcome, PackDraft, PackRef, Rights, StepDraft
    from .embedder import Embedder, HashEmbedder, MiniLM
    from .errors import (
        BundleError,
        CheckError,
        DraftInvalidError,
        IndexUnavailableError,
        PackForgottenError,
        PackNotFoundError,
        RightsError,
        StoreError,
        StoreOwnedError,
        StoreVersionError,
        WeightsError,
    )
    from .floor import Asked, Floor, FloorErrors, calibrated, errors_of
    from .gates import Gates
    from .hits import Candidate, Hit, Reasons, Recall
    from .index import ChromaIndex, MemoryIndex, VectorIndex
    from .ledger import LedgerReport
    from .record import pack_rows
    from .reuse import Reuse, Share
    from .rights import Decision, Request, allowed_keys, inherit, permits
    from .server import PARTS, candidate_data, experience_server, hit_data, pack_data
    from .store import PackStore, open_pack_store
    from .tables import Check, CheckVerdict, Edge, LedgerEntry, Pack, Step
    from .transfer import export_packs, import_packs
    from .trust import TrustRule
    from .weights import (
        SMOLLM2,
        WEIGHTS,
        find_weights,
        install_weights,
        missing_weights,
        verify_weights,
    )

_MODULE_OF = {
    "AdmissionStatus": "admission",
    "Asked": "floor",
    "BundleError": "errors",
    "Candidate": "hits",
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
    "Decision": "rights",
    "DraftInvalidError": "errors",
    "Durability": "database",
    "Edge": "tables",
    "Embedder": "embedder",
    "Exported": "bundle",
    "Floor": "floor",
    "FloorErrors": "floor",
    "Gates": "gates",
    "HashEmbedder": "embedder",
    "Hit": "hits",
    "Imported": "arrivals",
    "IndexUnavailableError": "errors",
    "LedgerEntry": "tables",
    "LedgerReport": "ledger",
    "Limits": "checker",
    "MemoryIndex": "index",
    "MiniLM": "embedder",
    "Origin": "drafts",
    "Outcome": "drafts",
    "PARTS": "server",
    "Pack": "tables",
    "PackDraft": "drafts",
    "PackForgottenError": "errors",
    "PackNotFoundError": "errors",
    "PackRef": "drafts",
    "PackStore": "store",
    "Reasons": "hits",
    "Recall": "hits",
    "Request": "rights",
    "Reuse": "reuse",
    "Rights": "drafts",
    "RightsError": "errors",
    "SMOLLM2": "weights",
    "Share": "reuse",
    "Step": "tables",
    "StepDraft": "drafts",
    "StoreError": "errors",
    "StoreOwnedError": "errors",
    "StoreVersionError": "errors",
    "TrustRule": "trust",
    "VectorIndex": "index",
    "Verdict": "checks",
    "WEIGHTS": "weights",
    "WeightsError": "errors",
    "allowed_keys": "rights",
    "calibrated": "floor",
    "candidate_data": "server",
    "digest_of": "digests",
    "errors_of": "floor",
    "experience_server": "server",
    "export_packs": "transfer",
    "find_weights": "weights",
    "hit_data": "server",
    "import_packs": "transfer",
    "inherit": "rights",
    "install_weights": "weights",
    "missing_weights": "weights",
    "open_checker": "checker",
    "open_database": "database",
    "open_pack_store": "store",
    "pack_data": "server",
    "pack_rows": "record",
    "permits": "rights",
    "read_bundle": "arrivals",
    "run_check": "checker",
    "sqlite_path": "database",
    "utc_now": "digests",
    "verify_weights": "weights",
}

__all__ = [
    "PARTS",
    "SMOLLM2",
    "WEIGHTS",
    "AdmissionStatus",
    "Asked",
    "BundleError",
    "Candidate",
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
    "Decision",
    "DraftInvalidError",
    "Durability",
    "Edge",
    "Embedder",
    "Exported",
    "Floor",
    "FloorErrors",
    "Gates",
    "HashEmbedder",
    "Hit",
    "Imported",
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
    "PackForgottenError",
    "PackNotFoundError",
    "PackRef",
    "PackStore",
    "Reasons",
    "Recall",
    "Request",
    "Reuse",
    "Rights",
    "RightsError",
    "Share",
    "Step",
    "StepDraft",
    "StoreError",
    "StoreOwnedError",
    "StoreVersionError",
    "TrustRule",
    "VectorIndex",
    "Verdict",
    "WeightsError",
    "allowed_keys",
    "calibrated",
    "candidate_data",
    "digest_of",
    "errors_of",
    "experience_server",
    "export_packs",
    "find_weights",
    "hit_data",
    "import_packs",
    "inherit",
    "install_weights",
    "missing_weights",
    "open_checker",
    "open_database",
    "open_pack_store",
    "pack_data",
    "pack_rows",
    "permits",
    "read_bundle",
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
