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
    from .certificate import ForgetCertificate, Interval, read_certificate
    from .changes import Arm, Case, Finding, Replay, Thresholds
    from .checker import Checker, Limits, open_checker, run_check
    from .checks import CheckSpec, Verdict
    from .database import Database, Durability, open_database, sqlite_path
    from .derivation import DERIVATIONS, Derivation, Parent, tally
    from .digests import Clock, digest_of, utc_now
    from .drafts import Claim, Cost, Origin, Outcome, PackDraft, PackRef, Rights, StepDraft
    from .embedder import Embedder, HashEmbedder, MiniLM
    from .errors import (
        BundleError,
        ChangeError,
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
    from .forgetting import Purge
    from .gates import Gates, HeldOut, Judge, Trial, check_gates, digest_of_trials, run_gates
    from .governance import Governance
    from .hits import Candidate, Hit, Reasons, Recall
    from .index import ChromaIndex, MemoryIndex, VectorIndex
    from .keys import Keys, load_keys
    from .layers import LayerRule, draft_of
    from .ledger import LedgerReport
    from .licences import expression_of
    from .lineage import Selector
    from .mutants import PANEL, Mutant, mutants_of
    from .rebuild import rebuilt_digest, store_digest
    from .record import pack_rows
    from .redaction import DEFAULT_RULES, PATTERNS, Redactor, Rule
    from .residue import Traces, files_of, scan, texts_in, traces_of
    from .reuse import Reuse, Share
    from .rights import Decision, Request, allowed_keys, inherit, permits
    from .server import PARTS, candidate_data, experience_server, hit_data, pack_data
    from .store import PackStore, open_pack_store, open_store
    from .tables import Admission, ChangeRow, Check, CheckVerdict, Edge, LedgerEntry, Pack, Step
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
    "Admission": "tables",
    "AdmissionStatus": "admission",
    "Arm": "changes",
    "Asked": "floor",
    "BundleError": "errors",
    "Candidate": "hits",
    "Case": "changes",
    "ChangeError": "errors",
    "ChangeRow": "tables",
    "Check": "tables",
    "CheckError": "errors",
    "CheckSpec": "checks",
    "CheckVerdict": "tables",
    "Checker": "checker",
    "ChromaIndex": "index",
    "Claim": "drafts",
    "Clock": "digests",
    "Cost": "drafts",
    "DEFAULT_RULES": "redaction",
    "DERIVATIONS": "derivation",
    "Database": "database",
    "Decision": "rights",
    "Derivation": "derivation",
    "DraftInvalidError": "errors",
    "Durability": "database",
    "Edge": "tables",
    "Embedder": "embedder",
    "Exported": "bundle",
    "Finding": "changes",
    "Floor": "floor",
    "FloorErrors": "floor",
    "ForgetCertificate": "certificate",
    "Gates": "gates",
    "Governance": "governance",
    "HashEmbedder": "embedder",
    "HeldOut": "gates",
    "Hit": "hits",
    "Imported": "arrivals",
    "IndexUnavailableError": "errors",
    "Interval": "certificate",
    "Judge": "gates",
    "Keys": "keys",
    "LayerRule": "layers",
    "LedgerEntry": "tables",
    "LedgerReport": "ledger",
    "Limits": "checker",
    "MemoryIndex": "index",
    "MiniLM": "embedder",
    "Mutant": "mutants",
    "Origin": "drafts",
    "Outcome": "drafts",
    "PANEL": "mutants",
    "PARTS": "server",
    "PATTERNS": "redaction",
    "Pack": "tables",
    "PackDraft": "drafts",
    "PackForgottenError": "errors",
    "PackNotFoundError": "errors",
    "PackRef": "drafts",
    "PackStore": "store",
    "Parent": "derivation",
    "Purge": "forgetting",
    "Reasons": "hits",
    "Recall": "hits",
    "Redactor": "redaction",
    "Replay": "changes",
    "Request": "rights",
    "Reuse": "reuse",
    "Rights": "drafts",
    "RightsError": "errors",
    "Rule": "redaction",
    "SMOLLM2": "weights",
    "Selector": "lineage",
    "Share": "reuse",
    "Step": "tables",
    "StepDraft": "drafts",
    "StoreError": "errors",
    "StoreOwnedError": "errors",
    "StoreVersionError": "errors",
    "Thresholds": "changes",
    "Traces": "residue",
    "Trial": "gates",
    "TrustRule": "trust",
    "VectorIndex": "index",
    "Verdict": "checks",
    "WEIGHTS": "weights",
    "WeightsError": "errors",
    "allowed_keys": "rights",
    "calibrated": "floor",
    "candidate_data": "server",
    "check_gates": "gates",
    "digest_of": "digests",
    "digest_of_trials": "gates",
    "draft_of": "layers",
    "errors_of": "floor",
    "experience_server": "server",
    "export_packs": "transfer",
    "expression_of": "licences",
    "files_of": "residue",
    "find_weights": "weights",
    "hit_data": "server",
    "import_packs": "transfer",
    "inherit": "rights",
    "install_weights": "weights",
    "load_keys": "keys",
    "missing_weights": "weights",
    "mutants_of": "mutants",
    "open_checker": "checker",
    "open_database": "database",
    "open_pack_store": "store",
    "open_store": "store",
    "pack_data": "server",
    "pack_rows": "record",
    "permits": "rights",
    "read_bundle": "arrivals",
    "read_certificate": "certificate",
    "rebuilt_digest": "rebuild",
    "run_check": "checker",
    "run_gates": "gates",
    "scan": "residue",
    "sqlite_path": "database",
    "store_digest": "rebuild",
    "tally": "derivation",
    "texts_in": "residue",
    "traces_of": "residue",
    "utc_now": "digests",
    "verify_weights": "weights",
}

__all__ = [
    "DEFAULT_RULES",
    "DERIVATIONS",
    "PANEL",
    "PARTS",
    "PATTERNS",
    "SMOLLM2",
    "WEIGHTS",
    "Admission",
    "AdmissionStatus",
    "Arm",
    "Asked",
    "BundleError",
    "Candidate",
    "Case",
    "ChangeError",
    "ChangeRow",
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
    "Derivation",
    "DraftInvalidError",
    "Durability",
    "Edge",
    "Embedder",
    "Exported",
    "Finding",
    "Floor",
    "FloorErrors",
    "ForgetCertificate",
    "Gates",
    "Governance",
    "HashEmbedder",
    "HeldOut",
    "Hit",
    "Imported",
    "IndexUnavailableError",
    "Interval",
    "Judge",
    "Keys",
    "LayerRule",
    "LedgerEntry",
    "LedgerReport",
    "Limits",
    "MemoryIndex",
    "MiniLM",
    "Mutant",
    "Origin",
    "Outcome",
    "Pack",
    "PackDraft",
    "PackForgottenError",
    "PackNotFoundError",
    "PackRef",
    "PackStore",
    "Parent",
    "Purge",
    "Reasons",
    "Recall",
    "Redactor",
    "Replay",
    "Request",
    "Reuse",
    "Rights",
    "RightsError",
    "Rule",
    "Selector",
    "Share",
    "Step",
    "StepDraft",
    "StoreError",
    "StoreOwnedError",
    "StoreVersionError",
    "Thresholds",
    "Traces",
    "Trial",
    "TrustRule",
    "VectorIndex",
    "Verdict",
    "WeightsError",
    "allowed_keys",
    "calibrated",
    "candidate_data",
    "check_gates",
    "digest_of",
    "digest_of_trials",
    "draft_of",
    "errors_of",
    "experience_server",
    "export_packs",
    "expression_of",
    "files_of",
    "find_weights",
    "hit_data",
    "import_packs",
    "inherit",
    "install_weights",
    "load_keys",
    "missing_weights",
    "mutants_of",
    "open_checker",
    "open_database",
    "open_pack_store",
    "open_store",
    "pack_data",
    "pack_rows",
    "permits",
    "read_bundle",
    "read_certificate",
    "rebuilt_digest",
    "run_check",
    "run_gates",
    "scan",
    "sqlite_path",
    "store_digest",
    "tally",
    "texts_in",
    "traces_of",
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
