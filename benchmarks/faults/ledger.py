"""What happened, kept outside of the runtime: what it accepted, and what it caused.

A tool that honors idempotency keys does each key once, so a task whose call was made again
under its own key is one effect. An effect that happened under two keys is a repetition.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ENDED = frozenset({"COMPLETED", "FAILED", "CANCELED", "REJECTED"})


@dataclass(slots=True)
class Ledger:
    """An append-only file of effects, and the tasks that were acknowledged.

    accepted: the id of each acknowledged task by the name that its sender gave it.
    """

    path: Path
    accepted: dict[str, str] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    done: dict[str, str] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)

    def ask(self, key: str, what: str) -> None:
        """Note that an effect is asked for."""
        self.asked[key] += 1
        self._append("asked", key, what)

    def do(self, key: str, what: str) -> bool:
        """Let the effect of a key happen, unless it has; whether it did now."""
        if key in self.done:
            return False
        self._append("done", key, what)
        self.done[key] = what
        self.order.append(what)
        return True

    def _append(self, *words: str) -> None:
        with self.path.open("a") as file:
            file.write(" ".join(words) + "\n")

    # -- judgment ----------------------------------------------------------------

    @property
    def effects(self) -> Counter[str]:
        """How often each thing happened."""
        return Counter(self.done.values())

    @property
    def asked_again(self) -> int:
        """Calls that were made again under their own key."""
        return self.asked.total() - len(self.asked)

    def repeated(self) -> list[str]:
        """What happened more than once."""
        return [what for what, times in self.effects.items() if times > 1]

    def lost(self, states: Mapping[str, str], steps: Mapping[str, int]) -> list[str]:
        """Accepted tasks that are gone, and effects that a completed task has not had.

        states: by the sender's name, "" for a task that nobody knows. steps: how many
        effects each should have.
        """
        effects, missing = self.effects, []
        for name in self.accepted:
            if not states.get(name):
                missing.append(f"task {name} is gone")
            elif states[name] == "COMPLETED":
                missing += [
                    f"{name}/{step} never happened"
                    for step in range(steps.get(name, 0))
                    if not effects[f"{name}/{step}"]
                ]
        return missing

    def stuck(self, states: Mapping[str, str]) -> list[str]:
        """Accepted tasks that have not ended."""
        return [n for n in self.accepted if states.get(n) and states[n] not in ENDED]
