"""p-values recomputed from the statistic printed beside them, after statcheck (Nuijten 2016).

A printed number stands for everything that rounds to it: a p-value is consistent if some
statistic within the rounding gives it. One-sided tests are allowed where the text says so.
"""

import math
import re
from dataclasses import dataclass

from .findings import Findings, Sentence, sentences_of
from .manuscript import Manuscript

_NUMBER = r"[-−–]?\s?\d*\.?\d+"
_P = r"\s*[,;(\[]?\s*(?:(?:two|one)[- ](?:tailed|sided)\s+)?(?P<word>[pP]\s*(?:-?\s*values?)?\s*(?P<relation>[=<>≤≥]|&lt;|&gt;)\s*(?P<p>\d?\.\d+(?:\s*[×x]\s*10\s*\^?[-−]\s*\d+|[eE][-−]\d+)?|0|1)|(?P<ns>\bn\.?s\.?\b))"
_GAP = r"(?:\s*[,;]\s*(?:(?!\b[pP]\s*[=<>≤≥])[^.;()]|\.\d|\d\.\d){0,70}?)?"
_TEST = re.compile(
    r"(?:(?<![A-Za-z])(?P<t>t)\s*(?:\(\s*(?P<t_df>\d+(?:\.\d+)?)\s*\)|_?\{?(?P<t_sub>\d+)\}?)\s*=\s*(?P<t_value>" + _NUMBER + r")"
    r"|(?<![A-Za-z])(?P<F>F)\s*\(\s*(?P<F_one>\d+(?:\.\d+)?)\s*,\s*(?P<F_two>\d+(?:\.\d+)?)\s*\)\s*=\s*(?P<F_value>" + _NUMBER + r")"
    r"|(?P<chi>(?:χ|Χ|𝜒|chi|Chi|X)\s*(?:\^?\s*2|²|[- ]?squared?)?)\s*\(\s*(?:df\s*=\s*)?(?P<chi_df>\d+)(?:\s*,\s*[nN]\s*=\s*[\d,]+)?\s*\)\s*=\s*(?P<chi_value>" + _NUMBER + r")"
    r"|(?:χ|Χ|𝜒|chi|Chi|X)\s*(?:\^?\s*2|²|[- ]?squared?)?\s*=\s*(?P<chi2_value>" + _NUMBER + r")\s*,\s*(?P<chi2>df)\s*=\s*(?P<chi2_df>\d+)"
    r"|(?<![A-Za-z])(?P<rn>r)\s*=\s*(?P<rn_value>" + _NUMBER + r")\s*,\s*[nN]\s*=\s*(?P<rn_df>\d+)"
    r"|(?<![A-Za-z])(?P<r>r)\s*\(\s*(?P<r_df>\d+)\s*\)\s*=\s*(?P<r_value>" + _NUMBER + r")"
    r"|(?<![A-Za-z])(?P<z>[zZ])\s*=\s*(?P<z_value>" + _NUMBER + r")"
    r"|(?<![A-Za-z])(?P<t2>t)\s*=\s*(?P<t2_value>" + _NUMBER + r")\s*,\s*df\s*=\s*(?P<t2_df>\d+(?:\.\d+)?)"
    r")" + _GAP + _P
)  # fmt: skip
_ONE_SIDED = re.compile(r"\bone[- ](?:tailed|sided)\b|\bdirectional\b", re.IGNORECASE)
_ADJUSTED = re.compile(
    r"\b(?:bonferroni|holm|adjusted|corrected|FDR|tukey|benjamini|sidak|šidák)\b", re.IGNORECASE
)
_ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Reported:
    """A statistic with its degrees of freedom and the p printed beside it."""

    kind: str
    df: tuple[float, ...]
    value: str
    relation: str
    p: str

    def told(self) -> str:
        """The test as it is usually written."""
        names = {"chi": "χ²"}
        df = f"({', '.join(f'{d:g}' for d in self.df)})" if self.df else ""
        p = "ns" if self.relation == "ns" else f"p {self.relation} {self.p}"
        return f"{names.get(self.kind, self.kind)}{df} = {self.value}, {p}"


def tail(kind: str, df: tuple[float, ...], value: float) -> float:
    """The p-value of a statistic: two-sided for t, z and r, upper tail for F and χ²."""
    from scipy import special

    if kind == "t":
        return 2 * float(special.stdtr(df[0], -abs(value)))
    if kind == "z":
        return 2 * float(special.ndtr(-abs(value)))
    if kind == "F":
        return float(special.fdtrc(df[0], df[1], max(0.0, value)))
    if kind == "chi":
        return float(special.chdtrc(df[0], max(0.0, value)))
    if abs(value) >= 1:
        return 0.0
    t = value * math.sqrt(df[0] / (1 - value * value))
    return 2 * float(special.stdtr(df[0], -abs(t)))


def bounds(test: Reported) -> tuple[float, float]:
    """The least and the greatest p that a statistic printed like this can have."""
    value = abs(float(test.value))
    half = 0.5 * 10.0 ** -len(test.value.partition(".")[2])
    top = value + half if test.kind != "r" else min(value + half, 1.0)
    return tail(test.kind, test.df, top), tail(test.kind, test.df, max(0.0, value - half))


def is_consistent(test: Reported, low: float, high: float) -> bool:
    """Whether the printed p can be one between `low` and `high`."""
    if test.relation == "ns":
        return high > _ALPHA
    p = float(test.p)
    half = 0.5 * 10.0 ** -len(test.p.lower().partition("e")[0].partition(".")[2])
    if "e" in test.p.lower():
        half *= 10.0 ** float(test.p.lower().partition("e")[2])
    if test.relation in "<≤":
        return low < p or math.isclose(low, p)
    if test.relation in ">≥":
        return high > p or math.isclose(high, p)
    return low <= p + half + 1e-12 and high >= p - half - 1e-12


def check_p_values(manuscript: Manuscript) -> Findings:
    """Recompute every p that stands with its test."""
    findings = Findings("p_value")
    one_sided = any(_ONE_SIDED.search(page.text) for page in manuscript.pages)
    for sentence in sentences_of(manuscript, ("text", "figure", "table")):
        adjusted = _ADJUSTED.search(sentence.text) is not None
        for found in _TEST.finditer(sentence.text):
            test = _test(found)
            if test is None:
                continue
            findings.applied += 1
            low, high = bounds(test)
            if is_consistent(test, low, high):
                continue
            if one_sided and test.kind in "trz" and is_consistent(test, low / 2, high / 2):
                continue
            if adjusted and test.relation == "=" and float(test.p) > high:
                continue
            _flag(findings, sentence, found, test, low, high)
    return findings


def _test(found: re.Match[str]) -> Reported | None:
    kind = next(k for k in ("t", "F", "chi", "r", "z", "t2", "chi2", "rn") if found[k])
    value = re.sub(r"\s", "", found[f"{kind}_value"]).replace("−", "-").replace("–", "-")
    df: tuple[float, ...] = ()
    if kind == "t":
        df = (float(found["t_df"] or found["t_sub"]),)
    elif kind == "F":
        df = (float(found["F_one"]), float(found["F_two"]))
    elif kind != "z":
        df = (float(found[f"{kind}_df"]) - (2 if kind == "rn" else 0),)
    if any(d <= 0 for d in df) or (kind in {"r", "rn"} and abs(float(value)) > 1):
        return None
    relation = "ns" if found["ns"] else found["relation"].replace("&lt;", "<").replace("&gt;", ">")
    p = re.sub(r"\s", "", found["p"] or "").replace("−", "-")
    p = re.sub(r"[×x]10\^?-", "e-", p)
    if p and not 0 <= float(p) <= 1:
        return None
    return Reported({"t2": "t", "chi2": "chi", "rn": "r"}.get(kind, kind), df, value, relation, p)


def _flag(
    findings: Findings,
    sentence: Sentence,
    found: re.Match[str],
    test: Reported,
    low: float,
    high: float,
) -> None:
    middle = tail(test.kind, test.df, float(test.value))
    printed = _ALPHA + 1 if test.relation == "ns" else float(test.p)
    says = test.relation in "<≤=" and printed <= _ALPHA
    changes = says != (middle <= _ALPHA)
    close = low / 2 <= printed <= high / 2 + 1e-9 and test.kind in "trz"
    hint = "; half of it would be the one-sided p, which the text does not claim" if close else ""
    findings.flag(
        "major" if changes else "minor",
        0.5 if changes else 0.2,
        f"The p-value of {test.told()} does not follow from its statistic"
        + (", and the difference crosses .05." if changes else "."),
        f"{test.told().rpartition(', ')[0]} gives p = {_shown(middle)}"
        f" (from {_shown(low)} to {_shown(high)} within the rounding){hint}",
        [sentence.anchor(found.start(), found.end())],
    )


def _shown(p: float) -> str:
    return f"{p:.4f}" if p >= 0.0005 else f"{p:.1e}"
