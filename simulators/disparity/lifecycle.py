"""The six stages of the network behavior lifecycle: what each actor does in each of them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from repertory.simulators.statistics import Estimate

from .analysis import Settings, estimate_of
from .events import EventTable
from .measures import measures_of
from .profiles import block_weights, profiles_of
from .spans import STAGES


@dataclass(frozen=True)
class StageResult:
    """One actor at one stage; `measures` is empty where there are too few events."""

    actor: str
    stage: str
    events: int
    measures: Mapping[str, Estimate]


def stages_of(table: EventTable, settings: Settings) -> list[StageResult]:
    """The measures of every actor at every stage that the log knows, in the lifecycle's order."""
    if not table.has("stage"):
        return []
    words = table.words["stage"]
    keys = table.codes["actor"].astype(np.int64) * len(words) + table.codes["stage"]
    keys = np.where(table.codes["stage"] > 0, keys, -1)
    known = np.unique(keys[keys >= 0])
    groups = np.where(keys >= 0, np.searchsorted(known, keys), -1).astype(np.int32)
    profiles = profiles_of(table, groups, len(known))
    weights = block_weights(settings.draws, settings.seed)
    found = []
    for group, key in enumerate(known):
        actor, stage = table.actors[int(key) // len(words)], words[int(key) % len(words)]
        count = int(profiles.sums["events"][group].sum())
        told: Mapping[str, Estimate] = {}
        if count >= settings.n_min:
            draws = measures_of(profiles, group, weights)
            told = {k: estimate_of(v, count) for k, v in draws.items() if not np.isnan(v[0])}
        found.append(StageResult(actor, stage, count, told))
    place = {stage: i for i, stage in enumerate(STAGES)}
    return sorted(found, key=lambda s: (s.actor, place.get(s.stage, len(place)), s.stage))


def stage_notes(table: EventTable) -> list[str]:
    """Which stages the log lacks, and how many of its traces lack which."""
    if not table.has("stage"):
        return ["the log names no stage of the lifecycle (attribute lifecycle.stage)"]
    notes = []
    there = {word for word in table.words["stage"] if word}
    if absent := [stage for stage in STAGES if stage not in there]:
        notes.append(f"no event of the log is at the stage {', '.join(absent)}")
    if strange := sorted(there - set(STAGES)):
        notes.append(f"stages that the lifecycle does not know: {', '.join(strange)}")
    traces = table.codes["object"]
    count = len(np.unique(traces[traces > 0]))
    for stage in (s for s in STAGES if s in there):
        code = table.words["stage"].index(stage)
        have = len(np.unique(traces[(table.codes["stage"] == code) & (traces > 0)]))
        if 0 < have < count:
            notes.append(f"{count - have:,} of {count:,} traces lack the stage {stage}")
    return notes
