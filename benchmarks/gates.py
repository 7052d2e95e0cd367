"""Put the validators of a public task library through the gates, and attack those that pass.

    python benchmarks/gates.py                 every family, admitted on 20 tasks, attacked on 20 others
    python benchmarks/gates.py --families 12   the first so many

Needs the extra `bench` (reasoning-gym). The validators are the library's own, run in this
process; no model is asked. A family is admitted when its validator passes G1 to G5 on its
admission tasks; then, admitted or not, it is attacked by the panel of five on tasks that
the gates have not seen. What must hold: no admitted validator is fooled once.
"""

import argparse
import os
import sys
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import anyio

from benchmarks.results import write
from repertory.xp_store import PANEL, Gates, Trial, run_gates

ADMITTED_ON, ATTACKED_ON = 20, 20


@dataclass
class Family:
    """One validator: what the gates said, and which attacks fooled it how often."""

    name: str
    gates: Gates | None = None
    problem: str = ""
    fooled: dict[str, int] = field(default_factory=dict)
    attacks: int = 0

    @property
    def admitted(self) -> bool:
        return self.gates is not None and self.gates.passed


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--families", type=int, default=None)
    parser.add_argument("--seed", type=int, default=31)
    parser.add_argument("--write", action="store_true", help="write into benchmarks/README.md")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    # The extra `bench` brings it; nothing else needs its 320 MB.
    from reasoning_gym.factory import DATASETS  # pyright: ignore[reportMissingImports]

    began = time.process_time()
    names = sorted(DATASETS)[: given.families]
    families = [anyio.run(examine, name, given.seed) for name in names]
    seconds = time.process_time() - began
    text = told(families, seconds, given.seed)
    print(text)
    if given.write:
        write("gates", text)
    return 1 if any(each.admitted and each.fooled for each in families) else 0


async def examine(name: str, seed: int) -> Family:
    """Put one family's validator through the gates, then attack it on other tasks."""
    import reasoning_gym  # pyright: ignore[reportMissingImports]

    family = Family(name)
    try:
        tasks = reasoning_gym.create_dataset(name, seed=seed, size=ADMITTED_ON)
        entries = [tasks[at] for at in range(ADMITTED_ON)]
    except Exception as error:  # noqa: BLE001  A generator's own trouble is a finding.
        family.problem = f"makes no tasks: {type(error).__name__}"
        return family
    answers = [entry["answer"] for entry in entries]
    if any(answer is None for answer in answers):
        family.problem = "ships no reference answer"
    else:

        async def judge(subject: Any) -> bool | None:
            return scored(tasks, subject.get("answer"), entries[subject.get("task", 0)])

        trials = [
            Trial(
                {"task": at, "answer": ""},
                {"task": at, "answer": str(answer)},
                about=("answer",),
                other={"answer": str(answers[(at + 1) % len(answers)])},
                text=entries[at]["question"],
            )
            for at, answer in enumerate(answers)
        ]
        family.gates = await run_gates(judge, trials, seed=seed)
    attack(family, reasoning_gym.create_dataset(name, seed=seed + 1, size=ATTACKED_ON))
    return family


def scored(tasks: Any, answer: Any, entry: Any) -> bool | None:
    """Whether an answer gets full marks; None when the validator breaks on it."""
    try:
        return float(tasks.score_answer(answer=answer, entry=entry)) >= 1.0
    except Exception:  # noqa: BLE001  A validator that breaks has not been fooled.
        return None


def attack(family: Family, tasks: Any) -> None:
    """Try the panel's five answers on every task, none of which is the reference."""
    entries = [tasks[at] for at in range(ATTACKED_ON)]
    for at, entry in enumerate(entries):
        right = entry["answer"]
        if right is None:
            continue
        other = str(entries[(at + 1) % len(entries)]["answer"] or "")
        for name, attacked in PANEL.items():
            answer = attacked(str(right), other)
            if answer.strip() == str(right).strip():
                continue
            family.attacks += 1
            if scored(tasks, answer, entry):
                family.fooled[name] = family.fooled.get(name, 0) + 1


def told(families: list[Family], seconds: float, seed: int) -> str:
    """The result as Markdown."""
    admitted = [each for each in families if each.admitted]
    fooled = [each for each in families if each.fooled]
    let_through = [each for each in admitted if each.fooled]
    attacks = sum(each.attacks for each in families)
    rows = [
        "| families | admitted | refused | without gates: fooled at least once | admitted and fooled |",
        "|---|---|---|---|---|",
        f"| {len(families)} | {len(admitted)} | {len(families) - len(admitted)} |"
        f" {len(fooled)} | **{len(let_through)}** |",
        "",
        f"{attacks:,} attacks on {ATTACKED_ON} tasks of each family that the gates had not seen,"
        f" seed {seed}, {seconds:.0f} s of CPU.",
        "",
        "Refused, and what fooled them on the tasks of the attack:",
        "",
        "| family | gates | fooled by (of 20) |",
        "|---|---|---|",
    ]
    for each in families:
        if each.admitted:
            continue
        gates = each.problem or "; ".join(each.gates.failures if each.gates else ())
        said = ", ".join(f"{name} {count}" for name, count in sorted(each.fooled.items())) or "-"
        rows.append(f"| {each.name} | {gates} | {said} |")
    return "\n".join(rows)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
