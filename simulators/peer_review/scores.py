"""S(M) and r_f with their arithmetic. The weights are the venue's, the formulas ours (1.6)."""

from collections.abc import Sequence

from .integrity import integrity_risk
from .profiles import Weights
from .report import Claim, Flag, Graph, Item, Scores


def score(
    claims: Sequence[Claim],
    graph: Graph,
    items: Sequence[Item],
    flags: Sequence[Flag],
    weights: Weights,
) -> Scores:
    """The scores of a manuscript, each in [0, 1]; None where there was nothing to count.

    coherence: 1 − contradicted claims / claims, where a claim is contradicted if a node that
    is in the grounded extension attacks it. evidential fit: claims with at least one
    supporting node that is not out / claims. methodological validity: questions of the
    checklist answered / applicable. S: their weighted mean over those that are there.
    """
    status = {node.id: node.status for node in graph.nodes}
    told: list[str] = []
    coherence = fit = method = None
    if claims:
        ids = {claim.id for claim in claims}
        contradicted = {
            edge.target
            for edge in graph.edges
            if edge.kind == "attack" and edge.target in ids and status[edge.source] == "in"
        }
        coherence = 1 - len(contradicted) / len(claims)
        told.append(
            f"coherence = 1 − {len(contradicted)}/{len(claims)} contradicted claims = {coherence:.3f}"
        )
        supported = {
            edge.target
            for edge in graph.edges
            if edge.kind == "support" and edge.target in ids and status[edge.source] != "out"
        }
        fit = len(supported) / len(claims)
        told.append(
            f"evidential fit = {len(supported)}/{len(claims)} claims with evidence = {fit:.3f}"
        )
    asked = [item for item in items if item.passed is not None]
    if asked:
        passed = sum(item.passed is True for item in asked)
        method = passed / len(asked)
        told.append(
            f"methodological validity = {passed}/{len(asked)} questions answered = {method:.3f}"
        )
    parts = [
        (name, value, weight)
        for name, value, weight in (
            ("coherence", coherence, weights.coherence),
            ("evidential fit", fit, weights.evidential_fit),
            ("methodological validity", method, weights.methodological_validity),
        )
        if value is not None
    ]
    total = sum(weight for _, _, weight in parts)
    quality = sum(value * weight for _, value, weight in parts) / total if total else 0.0
    terms = " + ".join(f"{weight:g}·{value:.3f}" for _, value, weight in parts)
    told.append(
        f"S = ({terms}) / {total:g} = {quality:.3f}" if total else "S = 0: nothing could be counted"
    )
    risk, arithmetic = integrity_risk(flags)
    return Scores(
        coherence=_rounded(coherence),
        evidential_fit=_rounded(fit),
        methodological_validity=_rounded(method),
        S=round(quality, 6),
        r_f=risk,
        arithmetic=(*told, arithmetic),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
