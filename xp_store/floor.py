"""When recall says nothing: the evidence it demands, and how that was and can be calibrated.

A floor is two bars, one for the cosine and one for the share of the question's
information (inverse document frequency) that a pack's words hold; one of them
suffices. `calibrated` chooses both on questions whose answers are known.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_MARGIN = 0.32
_MIN_OVERLAP = 0.72
_FIRST, _LAST, _STEPS = 0.30, 1.0, 36


@dataclass(frozen=True, slots=True)
class Floor:
    """The evidence a pack must show: this cosine, or this share of the query's information."""

    cosine: float
    overlap: float


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with a known answer, and the evidence of the packs that came nearest.

    known: whether the store holds what answers it. evidence: (cosine, overlap) of each
    candidate; `Recall.considered` holds them.
    """

    known: bool
    evidence: tuple[tuple[float, float], ...]

    def answered(self, floor: Floor) -> bool:
        """Whether recall would give anything at this floor."""
        return any(c >= floor.cosine or o >= floor.overlap for c, o in self.evidence)


@dataclass(frozen=True, slots=True)
class FloorErrors:
    """The two ways to be wrong, as counts: an answer where nothing fits, and none where one does."""

    false_answers: int
    strangers: int
    false_silences: int
    known: int


def floor_of(min_cosine: float) -> Floor:
    """The floor that suits an embedder, which knows above what cosine two texts are related.

    Recall sees the nearest of many packs, so a stranger has many chances to look
    near, and the bar stands above the embedder's own for a single pair. Chosen with
    `calibrated` on the `tuned` half of `benchmarks/questions.py` with MiniLM (0.3), so
    that at most 20 of 100 questions without an answer are answered there, two thirds of
    which have stored relatives of the same action and the same object; benchmarks/README.md
    has the errors on what it was not chosen on, and those of other floors.
    """
    return Floor(min_cosine + _MARGIN, _MIN_OVERLAP)


def errors_of(floor: Floor, asked: Iterable[Asked]) -> FloorErrors:
    """Count both errors of `floor` on questions with known answers."""
    known = strangers = silent = false = 0
    for each in asked:
        answered = each.answered(floor)
        if each.known:
            known += 1
            silent += not answered
        else:
            strangers += 1
            false += answered
    return FloorErrors(false, strangers, silent, known)


def calibrated(asked: Sequence[Asked], false_answers: float) -> Floor:
    """The floor with the fewest false silences whose share of false answers is at most this.

    Of equals, the higher bars. Hold it against other questions before it is believed:
    what it was chosen on flatters it.

    Raises:
        ValueError: There is no question of one sort.
    """
    if len({each.known for each in asked}) < 2:
        raise ValueError("a floor is calibrated on questions with an answer and without one")
    # The nearest and the most telling decide whether anything passes.
    asked = [
        Asked(each.known, ((max(c for c, _ in each.evidence), max(o for _, o in each.evidence)),))
        if each.evidence
        else each
        for each in asked
    ]
    step = (_LAST - _FIRST) / (_STEPS - 1)
    bars = [round(_FIRST + step * place, 3) for place in range(_STEPS)] + [1.01]
    best: tuple[int, float, Floor] | None = None
    for cosine in bars:
        for overlap in bars:
            floor = Floor(cosine, overlap)
            found = errors_of(floor, asked)
            if found.false_answers > false_answers * found.strangers:
                continue
            order = (-found.false_silences, cosine + overlap)
            if best is None or order > best[:2]:
                best = (*order, floor)
    # Nothing at all passes the highest bars, so one was found.
    assert best is not None
    return best[2]
