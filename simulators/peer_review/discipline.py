"""The discipline of a manuscript: one of five supergroups, or uncertain.

After Study 1 (Saqr, arXiv 2510.02027, evaluation code): z-scores of keywords, cosines to
five definitions, softmax, and uncertain where the best is weak, near to the next, or the
whole is flat. The keywords, the definitions and the temperatures here are ours.
"""

import math
import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from .manuscript import Frozen, Manuscript

Discipline = Literal["Life", "Physical", "Health", "Social", "Humanities", "Multidisciplinary"]
DISCIPLINES: tuple[Discipline, ...] = ("Life", "Physical", "Health", "Social", "Humanities")
_KEYWORDS: dict[Discipline, str] = {
    "Life": r"genes?|genom\w+|proteins?|cells?|cellular|species|ecolog\w+|evolution\w*|bacteri\w+|mice|mouse|plants?|neurons?|enzym\w+|rna|dna|molecular|biolog\w+|soil|microb\w+",
    "Physical": r"algorithms?|neural networks?|training|quantum|particles?|materials?|temperature|energy|lattice|equations?|theorems?|software|hardware|chemical|reaction|optical|laser|galax\w+|engineering|computation\w*|regression|estimators?|datasets?",
    "Health": r"patients?|clinical|treatment|trial|disease|cancer|hospital|symptoms?|mortality|nurs\w+|therapy|diagnos\w+|drugs?|dose|placebo|surgery|epidemiolog\w+|health",
    "Social": r"econom\w+|policy|social|survey|respondents?|students?|teachers?|education|political|firms?|market|households?|behavio\w+|psycholog\w+|organi[sz]ation\w*|income|labou?r|participants",
    "Humanities": r"histor\w+|literary|literature|philosoph\w+|poet\w*|novel|religio\w+|archiv\w+|aesthetic\w*|cultur\w+|narrative|century|art|music|ethic\w+|theolog\w+|manuscripts?|linguistic\w*",
}  # fmt: skip
_DEFINITIONS: dict[Discipline, str] = {
    "Life": "Life sciences: biology, genetics, biochemistry, ecology, agriculture, neuroscience, microbiology.",
    "Physical": "Physical sciences: physics, chemistry, mathematics, statistics, computer science, engineering, materials, earth science.",
    "Health": "Health sciences: medicine, nursing, clinical trials, public health, dentistry, patients and their treatment.",
    "Social": "Social sciences: economics, psychology, sociology, education, political science, business, law.",
    "Humanities": "Arts and humanities: history, literature, philosophy, religion, linguistics, art and music.",
}
_TOP, _GAP, _ENTROPY = 0.20, 0.12, 1.45
# Cosines of MiniLM to the five definitions differ by about a tenth: made as wide as z-scores.
_COSINE_SCALE = 8.0
_KEYWORD_SCALE = 1.0
_WORDS = 400


class Placed(Frozen):
    """Where a manuscript belongs. by: what it was judged by. confidence: of the likeliest.

    uncertain: then `discipline` is Multidisciplinary.
    """

    discipline: Discipline
    confidence: float
    uncertain: bool
    shares: dict[str, float]
    by: Literal["keywords", "keywords and embeddings"]


def gist_of(manuscript: Manuscript) -> str:
    """The text that a manuscript is judged by: title, abstract, and the beginning."""
    opening = manuscript.abstract or (manuscript.pages[0].text if manuscript.pages else "")
    return " ".join(f"{manuscript.title}. {opening}".split()[:_WORDS])


def definitions() -> list[str]:
    """The five definitions, in the order of `DISCIPLINES`, for an embedder."""
    return [_DEFINITIONS[name] for name in DISCIPLINES]


def place(text: str, cosines: Sequence[float] | None = None) -> Placed:
    """The discipline of a text. cosines: its likeness to each of `definitions`, or None."""
    counts = np.array(
        [len(re.findall(rf"\b(?:{_KEYWORDS[d]})\b", text, re.IGNORECASE)) for d in DISCIPLINES],
        dtype=float,
    )
    score = _KEYWORD_SCALE * _standard(np.sqrt(counts))
    if cosines is not None:
        score = score + _COSINE_SCALE * (np.asarray(cosines) - float(np.mean(cosines)))
    return _decided(score, cosines is not None)


def _decided(score: npt.NDArray[np.float64], embedded: bool) -> Placed:
    share = np.exp(score - score.max())
    share /= share.sum()
    first, second = np.sort(share)[::-1][:2]
    entropy = -sum(float(p) * math.log(float(p)) for p in share if p > 0)
    uncertain = first < _TOP or first - second < _GAP or entropy > _ENTROPY
    best = DISCIPLINES[int(share.argmax())]
    return Placed(
        discipline="Multidisciplinary" if uncertain else best,
        confidence=round(float(first), 4),
        uncertain=bool(uncertain),
        shares={d: round(float(p), 4) for d, p in zip(DISCIPLINES, share, strict=True)},
        by="keywords and embeddings" if embedded else "keywords",
    )


def _standard(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    spread = float(values.std())
    return (values - values.mean()) / spread if spread > 0 else np.zeros_like(values)


async def place_all(manuscripts: Sequence[Manuscript]) -> tuple[list[Placed], str]:
    """The discipline of each manuscript, and a sentence where embeddings could not be had."""
    from repertory.xp_store import MiniLM, WeightsError

    texts = [gist_of(manuscript) for manuscript in manuscripts]
    if not texts:
        return [], ""
    try:
        vectors = await MiniLM(threads=1).embed([*definitions(), *texts])
    except WeightsError as error:
        return [place(text) for text in texts], f"Disciplines are judged by keywords alone: {error}"
    known, own = vectors[: len(DISCIPLINES)], vectors[len(DISCIPLINES) :]
    cosines = own @ known.T
    return [
        place(text, [float(c) for c in row]) for text, row in zip(texts, cosines, strict=True)
    ], ""
