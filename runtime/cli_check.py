"""`repertory check` and `repertory schema`: the manifest alone, nothing started."""

from pathlib import Path

from rich.text import Text

from .exits import Exit
from .inspection import check_manifest
from .manifest import Manifest
from .screen import Screen


def check_file(path: Path, as_json: bool) -> int:
    """Print every finding of a manifest; `Exit.USAGE` when one is an error."""
    screen = Screen(json=as_json)
    findings = check_manifest(path)
    errors = [finding for finding in findings if finding.severity == "error"]
    if screen.json:
        screen.document({"file": str(path), "sound": not errors, "findings": findings})
    else:
        for finding in findings:
            mark = "" if finding.severity == "error" else "warning: "
            place, _, _ = str(finding).partition(f": {finding.sentence}")
            screen.out.print(Text(f"{place}: {mark}{finding.sentence}"))
        if not errors:
            warned = len(findings)
            told = f", {warned} warning{'s' * (warned != 1)}" if warned else ""
            screen.out.print(Text(f"{path}: sound{told}"))
    return Exit.USAGE if errors else Exit.DONE


def print_schema() -> int:
    """Print the JSON Schema of a manifest."""
    schema = Manifest.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    Screen(json=True).document(schema)
    return Exit.DONE
