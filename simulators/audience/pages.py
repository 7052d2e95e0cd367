"""The report's page for one scenario: its pictures, its words, and the change against the draft.

Facts for the template `scenario.html`. The ranking under other weights is computed in
the page, by the script `weights.js`, which the page names by its hash.
"""

import difflib
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

from repertory.simulators.pages import Bar, heat_map, interval_bars

TEMPLATES = Path(__file__).with_name("templates")
Data = Mapping[str, Any]

_TOKEN = re.compile(r"\s+|[\w'’]+|[^\w\s]")
_ROWS = 14
_TONES = {"winner": "good", "tie set": "warn", "no signal": "bad"}


def label(candidate: Data) -> str:
    """What a candidate is called for a reader."""
    return str(candidate["title"])


def changes(draft: str, text: str) -> list[tuple[str, str]]:
    """The words that stay, go and come from `draft` to `text`, as (keep | del | ins, words)."""
    old, new = _TOKEN.findall(draft.strip()), _TOKEN.findall(text.strip())
    found: list[tuple[str, str]] = []
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            found.append(("keep", "".join(old[a:b])))
            continue
        if b > a:
            found.append(("del", "".join(old[a:b])))
        if d > c:
            found.append(("ins", "".join(new[c:d])))
    return found


def scenario_facts(result: Data, provenance: Data) -> dict[str, Any]:
    """All that the template of one scenario is given."""
    script = (TEMPLATES / "weights.js").read_text("utf-8")
    candidates = {each["id"]: each for each in result["candidates"]}
    shortlist = [candidates[name] for name in result["shortlist"]]
    draft = result["scenario"]["draft"].strip()
    return {
        "result": result,
        "scenario": result["scenario"],
        "candidates": result["candidates"],
        "label": label,
        "verdict_tone": _TONES[result["verdict"]],
        "verdict": verdict_sentence(result),
        "figures": [
            (len(result["candidates"]), "candidates compared"),
            (len(result["audiences"]), "audiences"),
            (f"{sum(each['pairs'] for each in result['audiences']):,}", "comparisons"),
            (len(result["tie_set"]), "cannot be told from the best"),
        ],
        "shortlist": [
            {
                "candidate": each,
                "changes": changes(draft, each["text"]) if draft and each["id"] != "draft" else [],
                "risks": [r["risk"] for r in result["risks"] if r["candidate"] == each["id"]],
            }
            for each in shortlist
        ],
        "bars": _bars(result, shortlist),
        "heat": _heat(result),
        "effects": _effects(result["advice"]),
        "advice": result["advice"],
        "audiences": result["audiences"],
        "audience_yaml": audience_yaml(result),
        "by_audience": result["scenario"]["audiences"],
        "provenance": provenance,
        "who": who_wrote(result),
        "script": Markup(script),  # noqa: S704 - the package's own file, nothing of anybody's text
        "script_hash": b64encode(sha256(script.encode()).digest()).decode(),
    }


def verdict_sentence(result: Data) -> str:
    """The verdict for a reader who wants to know what to send."""
    first = label(next(c for c in result["candidates"] if c["id"] == result["shortlist"][0]))
    if result["verdict"] == "winner":
        return f"{first} is first, and its interval lies above all others."
    if result["verdict"] == "tie set":
        return (
            f"{first} is first, but {len(result['tie_set'])} of {len(result['candidates'])}"
            " candidates cannot be told from it. Choose among them by your own judgment."
        )
    return f"The simulation cannot tell the candidates apart: {result['why']}."


def who_wrote(result: Data) -> list[str]:
    """Who wrote and who judged, plainly."""
    told = result["provenance"]
    by = {"model": "a language model", "library": "the packaged library and the scenario"}
    writers = {
        "model": "a language model",
        "sentences": "putting the advice's own sentences into your draft; no model wrote",
    }
    sentences = [
        f"Advice came from {by[told['advice_by']]}.",
        f"Candidates were made by {writers[told['candidates_by']]}.",
        "Audiences and weights came from a language model; edit them below."
        if told["audiences_by"] == "model"
        else "Audiences and weights are the scenario's own.",
        f"Judged by: {', '.join(told['judges'])}.",
    ]
    if any("reactions" in judge for judge in told["judges"]):
        sentences.append(
            "Reactions of a small model are a weak sign: the embedded one agrees with people on"
            " fewer pairs than “longer wins” does (benchmarks/README.md)."
        )
    if told["judge_data"]:
        data = told["judge_data"]
        sentences.append(
            f"The judge was trained on {data.get('data', 'labelled pairs of its owner')}"
            f" ({data.get('licence', 'licence not told')}): how far it holds for your channel was"
            " not measured. What an audience cares about is weighed by a rule of ours that no data"
            " was there to fit."
        )
    if result["missing"]:
        missing = " and ".join(result["missing"])
        sentences.append(f"Not there: the {missing} baselines, which need a model that writes.")
    return sentences


def audience_yaml(result: Data) -> str:
    """The audiences as a scenario's file has them, for editing."""
    rows = [
        {key: value for key, value in each.items() if value not in ("", None)}
        for each in result["scenario"]["audiences"]
    ]
    for row in rows:
        row["weight"] = f"{100 * row['weight']:.0f}%"
    text: str = yaml.safe_dump({"audiences": rows}, sort_keys=False, allow_unicode=True, width=96)
    return text


def _bars(result: Data, shortlist: Sequence[Data]) -> Markup:
    shown = list(shortlist)
    names = {each["id"] for each in shown}
    baselines = [
        each
        for each in result["candidates"]
        if each["origin"] in ("draft", "plain", "zero-shot", "chain-of-thought")
    ]
    shown += [each for each in baselines if each["id"] not in names]
    bars = [
        Bar(
            label(each),
            each["score"],
            each["low"] if each["low"] is not None else float("nan"),
            each["high"] if each["high"] is not None else float("nan"),
            mark=each["id"] not in names,
        )
        for each in shown
    ]
    return interval_bars(
        bars,
        title="Shortlist and baselines with their intervals",
        unit="score; 0 is the average candidate",
        reference=0.0,
    )


def _heat(result: Data) -> Markup:
    rows = list(result["candidates"][:_ROWS])
    rows += [each for each in result["candidates"][_ROWS:] if each["origin"] != "advice"]
    names = [each["name"] for each in result["audiences"]]
    values = [[each["by_audience"][name] for name in names] for each in rows]
    known = [abs(v) for row in values for v in row if v is not None] or [1.0]
    widest = max(*known, 0.1)
    return heat_map(
        [label(each) for each in rows],
        names,
        values,
        title="Scores by candidate and audience",
        domain=(-widest, widest),
        middle=0.0,
    )


def _effects(advice: Sequence[Data]) -> Markup | None:
    measured = [(i, each["measured"]) for i, each in enumerate(advice) if each["measured"]["n"]]
    if not measured:
        return None
    bars = [
        Bar(
            f"{i + 1}. {advice[i]['text']}",
            _or_nan(each["value"]),
            _or_nan(each["low"]),
            _or_nan(each["high"]),
            mark=advice[i]["kind"] == "unorthodox",
        )
        for i, each in measured
    ]
    return interval_bars(
        bars,
        title="What each piece of advice adds",
        unit="score with it, less score without it",
        reference=0.0,
    )


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
