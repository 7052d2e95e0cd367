"""The decision rule: total, ordered, and with a trace of what was tried.

A recommendation to an editor; the editor decides (guard G3).
"""

from collections.abc import Sequence

from .profiles import Thresholds
from .report import Decision, Issue, Rule, Scores, Verdict


def decide(scores: Scores, issues: Sequence[Issue], limits: Thresholds) -> Decision:
    """The verdict of the first of four rules that holds (ours).

    r_f ≥ θ_f rejects, S < θ_r rejects, S ≥ θ_a without an unanswered major critique
    accepts, and otherwise the manuscript is revised. Issues that a model wrote decide nothing.
    """
    open_ones = [i.id for i in issues if i.severity == "major" and i.author == "rules"]
    critiques = f"{len(open_ones)} unanswered major critiques" + (
        f" ({', '.join(open_ones[:8])})" if open_ones else ""
    )
    fit = limits.accept <= scores.S
    rules: list[tuple[str, str, bool, Verdict]] = [
        ("integrity", f"r_f = {scores.r_f:.3f} ≥ θ_f = {limits.risk:g} → reject", scores.r_f >= limits.risk, "reject"),
        ("quality", f"S = {scores.S:.3f} < θ_r = {limits.reject:g} → reject", limits.reject > scores.S, "reject"),
        ("accept", f"S = {scores.S:.3f} ≥ θ_a = {limits.accept:g} and {critiques} → accept", fit and not open_ones, "accept"),
        ("otherwise", "none of the rules before holds → revise", True, "revise"),
    ]  # fmt: skip
    trace = []
    for name, sentence, holds, verdict in rules:
        trace.append(Rule(name=name, sentence=sentence, holds=holds))
        if holds:
            return Decision(verdict=verdict, rule=name, trace=tuple(trace))
    raise AssertionError("the last rule always holds")


def combine(verdicts: Sequence[Verdict]) -> tuple[Verdict, bool]:
    """The verdict of several reviewers, and whether they disagree: unanimous, else revise."""
    if len(set(verdicts)) == 1:
        return verdicts[0], False
    return "revise", True
