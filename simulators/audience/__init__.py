"""The door of the audience simulator: a scenario in, a shortlist and what may be believed of it out.

Every name loads when it is first used: `repertory --help` must not wait for numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .agents import Analyst, Explorer, Moderator, Writer
    from .analysis import Heard, analyze
    from .candidates import Candidate, expected_count
    from .comparing import Bench, Choice, Pair, all_pairs, consistency, sorted_pairs
    from .corpus import Corpus, load_corpus
    from .facts import Flag, unknown_facts
    from .judges import FeatureJudge, Judge, PairwiseJudge, ReactionJudge, ScoredBench
    from .linear import LinearModel, load_linear, save_linear
    from .listening import AudienceMember
    from .ranking import Ranking, rank
    from .report import render, result_of_run, write_reports
    from .scenario import Advice, Audience, Scenario, load_scenario, read_scenario
    from .training import embedded, train

_MODULE_OF = {
    "Advice": "scenario",
    "Analyst": "agents",
    "Audience": "scenario",
    "AudienceMember": "listening",
    "Bench": "comparing",
    "Candidate": "candidates",
    "Choice": "comparing",
    "Corpus": "corpus",
    "Explorer": "agents",
    "FeatureJudge": "judges",
    "Flag": "facts",
    "Heard": "analysis",
    "Judge": "judges",
    "LinearModel": "linear",
    "Moderator": "agents",
    "Pair": "comparing",
    "PairwiseJudge": "judges",
    "Ranking": "ranking",
    "ReactionJudge": "judges",
    "Scenario": "scenario",
    "ScoredBench": "judges",
    "Writer": "agents",
    "all_pairs": "comparing",
    "analyze": "analysis",
    "consistency": "comparing",
    "embedded": "training",
    "expected_count": "candidates",
    "load_corpus": "corpus",
    "load_linear": "linear",
    "load_scenario": "scenario",
    "rank": "ranking",
    "read_scenario": "scenario",
    "render": "report",
    "result_of_run": "report",
    "save_linear": "linear",
    "sorted_pairs": "comparing",
    "train": "training",
    "unknown_facts": "facts",
    "write_reports": "report",
}

__all__ = [
    "Advice",
    "Analyst",
    "Audience",
    "AudienceMember",
    "Bench",
    "Candidate",
    "Choice",
    "Corpus",
    "Explorer",
    "FeatureJudge",
    "Flag",
    "Heard",
    "Judge",
    "LinearModel",
    "Moderator",
    "Pair",
    "PairwiseJudge",
    "Ranking",
    "ReactionJudge",
    "Scenario",
    "ScoredBench",
    "Writer",
    "all_pairs",
    "analyze",
    "consistency",
    "embedded",
    "expected_count",
    "load_corpus",
    "load_linear",
    "load_scenario",
    "rank",
    "read_scenario",
    "render",
    "result_of_run",
    "save_linear",
    "sorted_pairs",
    "train",
    "unknown_facts",
    "write_reports",
]


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
