"""GRIM and GRIMMER: means and deviations that no whole numbers can have.

GRIM (Brown and Heathers 2017): a mean of n whole numbers is a sum over n. GRIMMER (Anaya
2016, in the analytic form of Allard 2018): the sum of squares behind a standard deviation is
whole as well, and odd or even with the sum. Both apply to whole numbers only, so a
manuscript must say that it has some: a scale of points, ratings, counts.
"""

import math
import re
from decimal import Decimal

from .findings import Findings, Sentence, sentences_of
from .manuscript import Manuscript

_MEAN = re.compile(
    r"(?:\bM\s*(?:=|was|of|is|:)|\b[mM]ean(?:\s+\w+){0,4}?(?:\s*\([^()]{0,24}\))?\s*(?:=|was|were|of|is|:|at)?"
    r"|\baverage(?:\s+\w+){0,4}?\s*(?:=|was|were|of|is|:)|\baveraged(?:\s+at)?|x̄\s*=)\s*"
    r"(?P<mean>[-−]?\d{1,3}\.\d{1,3})(?![\d%]|\s*%)"
)
_PLUS = re.compile(r"(?P<mean>\d{1,3}\.\d{1,3})\s*(?:±|\+/-)\s*(?P<sd>\d{1,3}\.\d{1,3})(?![\d%])")
_SD = re.compile(
    r"\b(?:SD|S\.D\.|s\.d\.|standard deviation)\s*(?:=|was|of|:|,)?\s*(?P<sd>\d{1,3}\.\d{1,3})"
)
_SIZE = re.compile(
    r"\b[nN]\s*=\s*(?P<n>\d{1,3}(?:,\d{3})*|\d+)\b|\b(?P<m>\d{1,4})\s+(?:\w+\s+)?(?:participants|patients|respondents|students|raters"
    r"|subjects|people|users|adults|children|volunteers|women|men|teachers|nurses|judges)\b"
)
_SCALE = re.compile(
    r"(?:scale|rated|ratings?|scored?|from)\b[^.]{0,60}?\b(?P<low>[0-9]|1)\s*(?:\([^)]{0,40}\)\s*)?(?:to|[-–]|and)\s*(?P<high>\d{1,3})\b"
    r"|(?:mean|rating|score|satisfaction|agreement|confidence|scale)\w*\s*\((?P<lowest>[01])\s*[-–]\s*(?P<highest>\d{1,2})\)"
    r"|\b(?P<points>\d{1,2}|five|seven|nine|ten|four|six|eleven)[- ]point\b",
    re.IGNORECASE,
)
_WHOLE = re.compile(
    r"\bLikert\b|\brat(?:ed|ings?)\b|\bcounts?\b|\bnumber of\b|\bwhole[- ]numbers?\b|\bintegers?\b|\bpoints?\b|\bscores?\b|\bcorrect answers\b|\bitems\b|\bout of \d{1,2}\b",
    re.IGNORECASE,
)
_UNWHOLE = re.compile(
    r"\b(?:ms|seconds?|minutes?|hours?|kg|cm|mm|km|years?|age|BMI|°C|mg|µ[gm]|USD|EUR|Hz|dB)\b|%|\bpercent\b|\bsubscale|\bcomposite|\baveraged (?:across|over)\b|\bproportion|\baccuracy\b|\bF1\b|\bAUC\b|\bMSE\b|\bloss\b",
    re.IGNORECASE,
)
_ITEMS = re.compile(
    r"(?<![\d.])\b(\d{1,2}|two|three|four|five|six|seven|eight|nine|ten|twelve)[- ](?:items?|questions?)\b",
    re.IGNORECASE,
)
_WORDS = {
    w: n
    for n, w in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
        ]
    )
}


def fits_grim(mean: str, n: int, items: int = 1) -> bool:
    """Whether a mean, as printed, can be that of n whole numbers (or of n means of `items`)."""
    return bool(_sums(mean, n * items))


def fits_grimmer(mean: str, sd: str, n: int, items: int = 1) -> bool:
    """Whether a sample standard deviation, as printed, can belong to such a mean.

    n of at least 2; True where the mean itself does not fit, which GRIM says.
    """
    sums = _sums(mean, n * items)
    if not sums or n < 2:
        return True
    half = Decimal(1).scaleb(-_decimals(sd)) / 2
    low = max(Decimal(0), Decimal(sd) - half) * items
    high = (Decimal(sd) + half) * items
    for total in sums:
        # SS = (n - 1)·SD² + S²/n, a whole number, odd if and only if S is.
        base = Decimal(total * total) / n
        first = math.ceil(base + (n - 1) * low * low - Decimal("1e-9"))
        last = math.floor(base + (n - 1) * high * high + Decimal("1e-9"))
        if any(square % 2 == total % 2 for square in range(first, min(last, first + 2) + 1)):
            return True
    return False


def _decimals(number: str) -> int:
    return len(number.partition(".")[2])


def _sums(mean: str, size: int) -> list[int]:
    """The whole sums whose mean over `size` prints as `mean`, rounded either way at a half."""
    half = Decimal(1).scaleb(-_decimals(mean)) / 2
    value = Decimal(mean)
    first = math.ceil((value - half) * size - Decimal("1e-9"))
    last = math.floor((value + half) * size + Decimal("1e-9"))
    return list(range(first, last + 1))


def check_means(manuscript: Manuscript) -> tuple[Findings, Findings]:
    """GRIM on every mean with its n, GRIMMER on every deviation beside it."""
    grim, grimmer = Findings("grim"), Findings("grimmer")
    scales, items = _scales(manuscript)
    for sentence in sentences_of(manuscript, ("text", "figure", "table")):
        text = sentence.text
        if len(text) > 1200:
            continue
        sizes = [
            (m.start(), int((m["n"] or m["m"]).replace(",", ""))) for m in _SIZE.finditer(text)
        ]
        found: list[tuple[int, int, str, str]] = [
            (m.start("mean"), m.end(), m["mean"].replace("−", "-"), "")
            for m in _MEAN.finditer(text)
        ]
        found += [(m.start(), m.end(), m["mean"], m["sd"]) for m in _PLUS.finditer(text)]
        for at, end, mean, beside in found:
            n = _nearest(sizes, at, end)
            if (
                n is None
                or not 3 <= n <= 10 ** _decimals(mean)
                or not _is_whole(sentence, at, mean, scales)
            ):
                continue
            sd = beside
            deviation = _SD.search(text, end, end + 40)
            if not sd and deviation:
                sd, end = deviation["sd"], deviation.end()
            _judge(grim, grimmer, sentence, (at, end), mean, sd, n, items)
    return grim, grimmer


def _judge(
    grim: Findings,
    grimmer: Findings,
    sentence: Sentence,
    place: tuple[int, int],
    mean: str,
    sd: str,
    n: int,
    items: frozenset[int],
) -> None:
    grim.applied += 1
    fitting = [k for k in sorted(items) if n * k > 10 ** _decimals(mean) or fits_grim(mean, n, k)]
    if not fitting:
        below = math.floor(Decimal(mean) * n)
        places = _decimals(mean) + 2
        grim.flag(
            "major",
            0.35,
            f"The mean {mean} cannot be the mean of {n} whole numbers.",
            f"{mean} · {n} = {Decimal(mean) * n}; the nearest means are {below}/{n} = {below / n:.{places}f}"
            f" and {below + 1}/{n} = {(below + 1) / n:.{places}f}",
            [sentence.anchor(*place)],
        )
        return
    if not sd or n < 3:
        return
    grimmer.applied += 1
    if not any(n * k > 10 ** _decimals(mean) or fits_grimmer(mean, sd, n, k) for k in fitting):
        total = _sums(mean, n)[0]
        square = Decimal(total * total) / n
        middle = (n - 1) * Decimal(sd) ** 2 + square
        grimmer.flag(
            "major",
            0.3,
            f"No {n} whole numbers have the mean {mean} and the standard deviation {sd}.",
            f"sum = {total}; sum of squares = (n − 1)·SD² + sum²/n = {n - 1}·{sd}² + {total}²/{n}"
            f" = {middle:.3f}, and no {'odd' if total % 2 else 'even'} whole number lies within its rounding",
            [sentence.anchor(*place)],
        )


def _nearest(sizes: list[tuple[int, int]], at: int, end: int) -> int | None:
    """The n that a mean stands with: the nearest one, later ones first where both are near."""
    if not sizes:
        return None
    if len({n for _, n in sizes}) == 1:
        return sizes[0][1]
    near = [(abs(place - (end if place > at else at)), n) for place, n in sizes]
    distance, n = min(near)
    return n if distance <= 60 else None


def _scales(manuscript: Manuscript) -> tuple[list[tuple[float, float]], frozenset[int]]:
    """The scales of whole points that the manuscript names, and its numbers of items."""
    scales: list[tuple[float, float]] = []
    items = {1}
    for sentence in sentences_of(manuscript):
        for found in _SCALE.finditer(sentence.text):
            if found["points"]:
                points = found["points"].lower()
                scales.append((0.0, float(_WORDS.get(points) or points)))
            else:
                low = found["low"] or found["lowest"]
                scales.append((float(low), float(found["high"] or found["highest"])))
        for count in _ITEMS.findall(sentence.text):
            items.add(max(1, _WORDS.get(count.lower()) or int(count)))
    return scales, frozenset(items)


def _is_whole(sentence: Sentence, at: int, mean: str, scales: list[tuple[float, float]]) -> bool:
    """Whether the mean is one of whole numbers, as far as the words around it tell."""
    near = sentence.text[max(0, at - 120) : at + 60]
    if _UNWHOLE.search(near):
        return False
    if any(low <= float(mean) <= high for low, high in scales):
        return True
    return _WHOLE.search(sentence.text) is not None
