"""A named person takes the decision: a signature beside the report, bound to its digest."""

from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from repertory.simulators.errors import SimulatorInputError

from .guards import require_exportable
from .outcome import load_report
from .report import Signature, Verdict


def sign_report(path: Path, name: str, decision: str) -> Path:
    """Write `NAME.signature.json` beside a report, and return its path.

    Raises:
        SimulatorInputError: No name, no such decision, or no report there.
        ExportRefusedError: A guard of the report does not hold.
    """
    if not name.strip():
        raise SimulatorInputError("--name: a decision is taken by somebody; give a name")
    if decision not in get_args(Verdict):
        known = ", ".join(get_args(Verdict))
        raise SimulatorInputError(f"--decision: {decision!r} is none; it may be {known}")
    report = load_report(path)
    require_exportable(report)
    when = datetime.now(UTC).isoformat(timespec="seconds")
    signature = Signature.model_validate(
        {"name": name.strip(), "digest": report.digest(), "decision": decision, "when": when}
    )
    place = path.with_suffix(".signature.json")
    place.write_text(signature.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return place


def load_signature(path: Path) -> Signature | None:
    """The signature of the report at `path`; None where none is, or it signs another version."""
    place = path.with_suffix(".signature.json")
    if not place.is_file():
        return None
    try:
        signature = Signature.model_validate_json(place.read_bytes())
    except ValueError:
        return None
    return signature if signature.digest == load_report(path).digest() else None
