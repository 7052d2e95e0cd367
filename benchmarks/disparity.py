"""The disparity analyst against real data and known actors: `python benchmarks/disparity.py`.

    python benchmarks/disparity.py [--train DIR] [--test DIR] [--json OUT] [--quick]

DIR is laid out like the folder of published data: `rabbit/features.csv`,
`taubench/*.json[.gz]`, and event logs (`*.xes`, `*.csv`, `*.jsonl`, also gzipped) in any
other folder, beside which a CSV of actors and labels names the known humans. Training sees
no row of the test folder; with one folder for both, accounts are split at random.
"""

import argparse
import json
import os
import resource
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedKFold

from repertory.simulators.disparity import Labels, Settings, analyze, load_events, load_labels
from repertory.simulators.disparity.accounts import (
    SIX,
    AccountModel,
    Accounts,
    load_accounts,
    of_dimensions,
    of_features,
)
from repertory.simulators.disparity.choices import Prospect, ev_consistency, fit_prospect
from repertory.simulators.disparity.choosers import chooser, gambles
from repertory.simulators.disparity.events import EventColumns, EventTable
from repertory.simulators.disparity.labels import is_label_file
from repertory.simulators.disparity.measures import DIMENSIONS
from repertory.simulators.disparity.readers import read_events
from repertory.simulators.disparity.synthetic import Office, office
from repertory.simulators.disparity.trajectories import load_trajectories, pass_hat
from repertory.simulators.statistics import Estimate, auc, bootstrap

DATA = Path(os.environ.get("REPERTORY_DATA", Path(__file__).parents[2] / "shared" / "data"))
_LOGS = (".xes", ".xes.gz", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz")
Table = dict[str, Any]


def accounts(train: Accounts, test: Accounts, draws: int) -> Table:
    """Anchor A: bots and humans by their activity, trained on `train` alone."""
    model = AccountModel().fit(train)
    scores = model.scores(test)
    few = AccountModel(trees=False).fit(of_features(train, SIX))
    six = few.scores(of_features(test, SIX))

    def of(values: Any) -> Any:
        return _told(bootstrap(auc, test.is_bot, values, draws=draws))

    def single(name: str) -> Any:
        sign = 1 if auc(train.is_bot, _filled(train, name)) >= 0.5 else -1
        return of(sign * _filled(test, name))

    told: Table = {
        "train": len(train.is_bot),
        "test": len(test.is_bot),
        "bots in test": int(test.is_bot.sum()),
        "auc, activities per type alone": single("NAT_mean"),
        "auc, number of types alone": single("feat_NT"),
        "auc, six features, logistic": of(six),
        "auc, all features": of(scores),
        "accuracy, all features": _told(bootstrap(_accuracy, test.is_bot, scores, draws=draws)),
        "auc, labels shuffled in training (control)": _shuffled(train, test),
        "auc, activity count alone (control)": single("feat_NA"),
    }
    contributions = model.contributions(test)
    sizes = {name: float(np.abs(c - c.mean()).mean()) for name, c in contributions.items()}
    for name in DIMENSIONS:
        columns = train.columns(name)
        if not columns:
            told[f"dimension {name}"] = "the data has no features of it"
            continue
        own = AccountModel().fit(of_dimensions(train, (name,)))
        rest = tuple(d for d in DIMENSIONS if d != name and train.columns(d))
        others = AccountModel().fit(of_dimensions(train, rest))
        without = auc(test.is_bot, others.scores(of_dimensions(test, rest)))
        told[f"dimension {name}"] = {
            "features": len(columns),
            "auc alone": of(own.scores(of_dimensions(test, (name,)))),
            "auc lost without it": round(auc(test.is_bot, scores) - without, 4),
            "share of the log-odds": round(sizes[name] / sum(sizes.values()), 3),
        }
    return told


def _accuracy(labels: Any, scores: Any) -> float:
    return float(((scores > 0.5) == labels.astype(bool)).mean())


def _shuffled(train: Accounts, test: Accounts) -> list[float]:
    """The mean AUC of 20 models of shuffled labels, and the middle 95 % of them."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(20):
        blind = Accounts(train.names, train.features, rng.permutation(train.is_bot))
        found.append(auc(test.is_bot, AccountModel(trees=False).fit(blind).scores(test)))
    low, high = np.quantile(found, [0.025, 0.975])
    return [round(float(v), 4) for v in (np.mean(found), low, high)]


def _filled(accounts_: Accounts, name: str) -> Any:
    column = accounts_.features[:, accounts_.names.index(name)]
    return np.nan_to_num(column, nan=float(np.nanmedian(column)))


def cross_validated(whole: Accounts) -> Table:
    """Ten folds over all accounts, as the published figure was made."""
    all_, six = np.zeros(len(whole.is_bot)), np.zeros(len(whole.is_bot))
    folds = StratifiedKFold(10, shuffle=True, random_state=0)
    for train, test in folds.split(whole.features, whole.is_bot):
        all_[test] = AccountModel().fit(whole.take(train)).scores(whole.take(test))
        few = AccountModel(trees=False).fit(of_features(whole.take(train), SIX))
        six[test] = few.scores(of_features(whole.take(test), SIX))
    return {
        "accounts": len(whole.is_bot),
        "auc, all features": _told(bootstrap(auc, whole.is_bot, all_)),
        "auc, six features, logistic": _told(bootstrap(auc, whole.is_bot, six)),
        "accuracy, all features": round(_accuracy(whole.is_bot, all_), 4),
    }


def trajectories(path: Path) -> Table:
    """Anchor C: plan against action in real runs."""
    runs = load_trajectories(path)
    solved = np.array([run.solved for run in runs])
    f1 = np.array([run.score.f1 for run in runs])
    tasks = np.array([run.task for run in runs])
    calls = np.array([run.calls for run in runs], dtype=float)
    shuffled = np.random.default_rng(0).permutation(solved)

    def mean(values: Any, of: bool) -> float:
        chosen = values[solved == of]
        return round(float(chosen.mean()), 3) if len(chosen) else float("nan")

    repeated = np.array([run.repeated for run in runs], dtype=float)
    return {
        "runs": len(runs),
        **{f"pass^{k}": round(pass_hat(runs, k), 4) for k in (1, 2, 3, 4)},
        "auc of F1 for reward": _told(bootstrap(auc, solved, f1, groups=tasks)),
        "auc of few calls (control)": _told(bootstrap(auc, solved, -calls, groups=tasks)),
        "auc, rewards shuffled (control)": _told(bootstrap(auc, shuffled, f1, groups=tasks)),
        "exact match agrees with reward": round(
            float(np.mean([run.score.exact == run.solved for run in runs])), 4
        ),
        "mean F1, solved / not": [mean(f1, True), mean(f1, False)],
        "identical calls again, solved / not": [mean(repeated, True), mean(repeated, False)],
        "calls, solved / not": [mean(calls, True), mean(calls, False)],
    }


def event_log(path: Path, labels: Labels | None) -> Table:
    """One event log: who is judged how, in what time."""
    before, clock = time.process_time(), time.perf_counter()
    table = load_events([path])
    read = time.process_time() - before
    found = analyze(table, labels)
    told = judged(table, labels, found)
    told["CPU seconds, reading"] = round(read, 2)
    told["CPU seconds, all"] = round(time.process_time() - before, 2)
    told["seconds"] = round(time.perf_counter() - clock, 2)
    return told


def judged(table: EventTable, labels: Labels | None, found: Any) -> Table:
    """The verdicts of an analysis, counted by label."""
    counts: dict[str, int] = {}
    for actor in found.actors:
        key = f"{actor.label or 'unlabelled'}: {actor.verdict}"
        counts[key] = counts.get(key, 0) + 1
    return {
        "events": len(table),
        "actors": len(table.actors),
        "labelled humans with enough events": len(found.null.humans),
        "verdicts": dict(sorted(counts.items())),
        "agent-like": [
            {
                "actor": a.name,
                "label": a.label,
                "reason": a.reason,
                "measures": {
                    k: round(e.value, 4) for k, e in a.measures.items() if np.isfinite(e.value)
                },
            }
            for a in found.actors
            if a.verdict == "agent-like"
        ],
        "notes": found.notes,
    }


def offices(quick: bool) -> Table:
    """Known companies: is the automaton found, and who is accused with it?"""
    found: Table = {}
    for name, delayed in (("as it is", 0.0), ("random delays of 5 minutes added", 300.0)):
        hits = wrong = clerks = 0
        seeds = range(2 if quick else 10)
        for seed in seeds:
            columns = EventColumns()
            columns.extend(office(Office(events=60_000, night_workers=4, seed=seed)))
            table = columns.table()
            late = np.random.default_rng(seed).exponential(delayed, len(table)) if delayed else 0.0
            automaton = table.codes["actor"] == table.actors.index("automaton 0")
            table = table.with_times(table.time + np.where(automaton, late, 0.0))
            humans = {n: "human" for n in table.actors if n.startswith("clerk")}
            result = analyze(table, Labels(humans, {}), Settings(draws=100))
            hits += result.actor("automaton 0").verdict == "agent-like"
            wrong += sum(a.verdict == "agent-like" for a in result.actors if a.label == "human")
            clerks += len(humans)
        found[name] = {
            "offices": len(seeds),
            "automaton agent-like": hits,
            "clerks accused": f"{wrong} of {clerks}",
        }
    return found


def choosers() -> Table:
    """Known choosers: are their parameters recovered?"""
    problems = gambles(20_000)
    found: Table = {}
    for lambda_ in (1.0, 2.25):
        known = Prospect(0.88, 0.88, lambda_, 0.7, 10.0)
        picked = chooser("x", problems, known, seed=1)
        fit = fit_prospect(picked, starts=1)
        found[f"lambda {lambda_:g}"] = {
            "lambda": round(fit.lambda_, 3),
            "alpha (.88)": round(fit.alpha, 3),
            "gamma (.7)": round(fit.gamma, 3),
            "consistent with expected values": _told(ev_consistency(picked)),
        }
    return found


def speed(events: int) -> Table:
    """The analysis of a large log that is already a table; reading is measured with files."""
    columns = EventColumns()
    before = time.process_time()
    columns.extend(office(Office(events=events)))
    made = time.process_time() - before
    table = columns.table()
    clock = time.perf_counter()
    before = time.process_time()
    humans = {n: "human" for n in table.actors if n.startswith("clerk")}
    analyze(table, Labels(humans, {}))
    return {
        "events": len(table),
        "CPU seconds, making the log": round(made, 1),
        "CPU seconds, analysis": round(time.process_time() - before, 1),
        "seconds, analysis": round(time.perf_counter() - clock, 1),
        "peak memory, MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _told(estimate: Estimate) -> list[float]:
    return [round(v, 4) for v in (estimate.value, estimate.low, estimate.high)]


def _logs(folder: Path) -> list[tuple[Path, Labels | None]]:
    """Every event log below `folder`, with the labels that lie beside it."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.parent.name in ("rabbit", "taubench") or not path.name.endswith(_LOGS):
            continue
        if not is_label_file(path) and _is_log(path):
            beside = next(filter(is_label_file, sorted(path.parent.glob("*.csv"))), None)
            found.append((path, load_labels(beside) if beside else None))
    return found


def _is_log(path: Path) -> bool:
    try:
        first = islice(read_events(path, []), 100)
        return any(e.actor and e.action and e.time == e.time for e in first)
    except (ValueError, OSError):
        return False


def measure(train: Path, test: Path, quick: bool) -> Table:
    """All tables; the test folder's rows are read only after training."""
    tables: Table = {}
    features = train / "rabbit" / "features.csv"
    held = test / "rabbit" / "features.csv"
    if features.is_file() and held.is_file():
        known = load_accounts(features)
        if train.resolve() == test.resolve():
            order = np.random.default_rng(0).permutation(len(known.is_bot))
            cut = round(0.7 * len(order))
            fit, out = known.take(order[:cut]), known.take(order[cut:])
            tables["A: accounts, ten folds"] = cross_validated(known)
        else:
            fit, out = known, load_accounts(held)
        tables["A: accounts, held out"] = accounts(fit, out, 200 if quick else 1000)
    for path in sorted((test / "taubench").glob("*.json*")):
        tables[f"C: {path.name}"] = trajectories(path)
    for path, labels in _logs(test):
        tables[f"B: {path.relative_to(test)}"] = event_log(path, labels)
    tables["known offices"] = offices(quick)
    tables["known choosers"] = choosers()
    tables["speed"] = speed(60_000 if quick else 262_000)
    return tables


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--train", type=Path, default=DATA)
    parser.add_argument("--test", type=Path, default=None)
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--quick", action="store_true", help="smaller synthetic worlds")
    chosen = parser.parse_args()
    for folder in (chosen.train, chosen.test or chosen.train):
        if not folder.is_dir():
            print(f"{folder}: no such folder; REPERTORY_DATA or --train names one", file=sys.stderr)
            return 2
    tables = measure(chosen.train, chosen.test or chosen.train, chosen.quick)
    text = json.dumps(tables, indent=2, ensure_ascii=False)
    if chosen.json:
        chosen.json.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
