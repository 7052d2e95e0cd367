"""Every integrity check on one manuscript, and the risk that its flags amount to."""

import re
from collections.abc import Sequence

from .findings import Findings
from .grim import check_means
from .manuscript import Manuscript
from .passages import check_passages
from .percentages import check_percentages
from .pvalues import check_p_values
from .report import Category, CheckCount, Flag
from .sources import check_citations, check_hidden
from .tables import check_tables

CATEGORY_OF: dict[str, Category] = {
    "grim": "statistics",
    "grimmer": "statistics",
    "percentage": "data_results",
    "p_value": "statistics",
    "table_sum": "data_results",
    "repeated_numbers": "data_results",
    "unresolved_citation": "literature_context",
    "unused_reference": "literature_context",
    "duplicated_passage": "presentation_clarity",
    "hidden_text": "ethics_reporting",
}
ACTION_OF = {
    "grim": "Check the mean, its n and the scale against the data, and correct what is wrong.",
    "grimmer": "Check the standard deviation against the data, and correct it.",
    "percentage": "Correct the percentage or the count.",
    "p_value": "Recompute the test from the data, and correct the statistic, its degrees of freedom or the p-value.",
    "table_sum": "Correct the total or the entries, and say what the total is of.",
    "repeated_numbers": "Check against the raw results, and explain why the numbers are the same or correct them.",
    "unresolved_citation": "Add the entry, or correct the citation.",
    "unused_reference": "Cite the entry where it belongs, or remove it.",
    "duplicated_passage": "Say it once.",
    "hidden_text": "Remove the hidden text, and explain to the editor how it came into the file.",
}


def check_integrity(manuscript: Manuscript) -> tuple[tuple[Flag, ...], tuple[CheckCount, ...]]:
    """The flags of all checks in the order of their pages, and how often each check applied."""
    findings: list[Findings] = [
        *check_means(manuscript),
        check_percentages(manuscript),
        check_p_values(manuscript),
        *check_tables(manuscript),
        *check_citations(manuscript),
        check_passages(manuscript),
        check_hidden(manuscript),
    ]
    flags = [flag for found in findings for flag in found.flags]
    flags.sort(key=lambda flag: (flag.anchors[0].page, flag.anchors[0].start or 0, flag.check))
    counts = tuple(
        CheckCount(check=found.check, applied=found.applied, flagged=len(found.flags))
        for found in findings
    )
    return tuple(f.model_copy(update={"id": f"f{n}"}) for n, f in enumerate(flags, start=1)), counts


def integrity_risk(flags: Sequence[Flag]) -> tuple[float, str]:
    """r_f = 1 − Π(1 − w_k·flag_k) over the checks k (ours), and its arithmetic.

    w_k is the greatest weight among the flags of check k: ten wrong percentages are one habit.
    """
    weights: dict[str, float] = {}
    for flag in flags:
        weights[flag.check] = max(weights.get(flag.check, 0.0), flag.weight)
    left = 1.0
    for weight in weights.values():
        left *= 1 - weight
    factors = " · ".join(f"(1 − {w:g} [{check}])" for check, w in sorted(weights.items()))
    risk = round(1 - left, 6)
    return risk, f"r_f = 1 − {factors} = {risk:.3f}" if factors else "r_f = 0: no check is flagged"


def told_numbers(text: str) -> frozenset[str]:
    """The numbers of a text as they are printed, without years and single digits."""
    found = re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?![\w])", text.replace(",", ""))
    return frozenset(
        n for n in found if ("." in n or len(n) > 1) and not re.fullmatch(r"(?:19|20)\d\d", n)
    )
