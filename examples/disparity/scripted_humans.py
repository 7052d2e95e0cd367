"""Write the log of scripted humans at the invoice desk: `python scripted_humans.py FILE`.

Nobody worked here: the program draws what clerks, checkers and bookkeepers might do in
four weeks at a desk like the invoice desk's, with the desk's names for what is done,
so that the desk's agents have somebody to be compared with. Every line is marked.
"""

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

WORK = {
    "clerk": (
        "invoke_agent",
        "SendMessage intake",
        "SendMessage checker",
        "SendMessage approver",
        "SendMessage bookkeeper",
    ),
    "checker": (
        "invoke_agent",
        "execute_tool ledger.find_vendor",
        "execute_tool ledger.find_invoice",
    ),
    "bookkeeper": ("invoke_agent", "execute_tool ledger.post_invoice"),
}
PEOPLE, EVENTS, DAYS = 12, 120, 20
FIRST = datetime(2026, 10, 26, tzinfo=UTC)


def person(role: str, number: int) -> Iterator[dict[str, Any]]:
    """One scripted person's events: sessions of working days, pauses, slips and corrections."""
    rng = np.random.default_rng([11, number, len(role)])
    pace, spread = rng.lognormal(np.log(70), 0.4), rng.uniform(0.7, 1.2)
    begins, slips = rng.normal(8.6, 0.6), rng.uniform(0.05, 0.2)
    for day in range(DAYS):
        at = FIRST + timedelta(days=day + 2 * (day // 5), hours=float(begins + rng.normal(0, 0.3)))
        case, step = 0, 0
        for _ in range(EVENTS // DAYS):
            yield {
                "actor": f"scripted {role} {number:02d}",
                "time": at.isoformat(),
                "action": WORK[role][step],
                "object": f"{role} {number} {day} {case}",
                "scripted": True,
            }
            if rng.random() > slips:
                step = (step + 1) % len(WORK[role])
                case += step == 0
            long = rng.random() < 0.1
            at += timedelta(
                seconds=float(rng.lognormal(np.log(pace * (25 if long else 1)), spread))
            )


def main(path: Path) -> None:
    events = [e for role in WORK for n in range(PEOPLE) for e in person(role, n)]
    events.sort(key=lambda event: str(event["time"]))
    path.write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
    print(f"{len(events)} events of {PEOPLE * len(WORK)} scripted people in {path}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "scripted_humans.jsonl"))
