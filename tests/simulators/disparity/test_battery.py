import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from repertory.simulators.disparity.battery import Item, battery, battery_result
from tests.claims import claim

ITEMS = battery(40, seed=1)


def _worth(said: str) -> float:
    parts = re.findall(r"(win|lose) ([\d.]+)(?: with ([\d.]+)% chance| for sure)", said)
    return sum(
        (1 if word == "win" else -1) * float(x) * (float(p) / 100 if p else 1)
        for word, x, p in parts
    )


def _expected_value(item: Item) -> str:
    found = re.match(r"Choose one\. A: (.*)\. B: (.*)\. Answer", item.question)
    if found:
        return "A" if _worth(found[1]) >= _worth(found[2]) else "B"
    if "rather have" in item.question:
        first, second = (str(item.row[k]) for k in ("a", "b"))
        return "A" if len(first) >= len(second) else "B"
    return "1000" if "anchor" in item.row else "A"


def _anchored(item: Item) -> str:
    return str(item.row["anchor"]) if "anchor" in item.row else "A"


@pytest.mark.parametrize(
    ("agent", "consistent", "flips", "anchoring"),
    [(_expected_value, (1.0, 1.0), 0.0, 0.0), (_anchored, (0.0, 0.6), 1.0, 1.0)],
    ids=["expected values", "always the first, and the anchor"],
)
def test_a_battery_shows_what_an_agent_was_made_of(
    agent: Callable[[Item], str],
    consistent: tuple[float, float],
    flips: float,
    anchoring: float,
) -> None:
    """Ours: a chooser of expected values, and one that takes the first and repeats the anchor."""
    found = battery_result("x", ITEMS, [agent(item) for item in ITEMS])
    assert found.answered == found.asked == len(ITEMS)
    low, high = consistent
    assert low <= found.patterns["ev_consistency"].value <= high
    assert found.patterns["order_flips"].value == flips
    assert found.patterns["anchoring"].value == pytest.approx(anchoring)
    # Whoever takes the longer words never goes in circles, nor who takes what stands first.
    assert found.patterns["intransitivity"].value == 0


def test_an_agent_that_says_nothing_is_told_so() -> None:
    """Ours: no choice is read into words that hold none."""
    found = battery_result("x", ITEMS, ["As an assistant I like A and B alike."] * len(ITEMS))
    assert found.answered == 0
    told = "\n".join(found.sentences())
    assert "answered 0 of" in told
    assert "cannot tell, nothing answered" in told
    first = battery_result("x", ITEMS, [_anchored(item) for item in ITEMS])
    assert any("always gave the same letter" in line for line in first.sentences())


@claim("habd:choices")
def test_the_battery_is_put_to_an_agent_of_a_network(
    tmp_path: Path, command: Callable[..., Result]
) -> None:
    """Ours: `repertory battery AGENT` asks over A2A like anybody else."""
    (tmp_path / "mind.py").write_text(
        "from repertory.agents import Agent\n"
        "class First(Agent):\n"
        "    async def handle(self, turn):\n"
        "        await turn.complete('7' if 'number' in turn.message.text else 'A')\n",
        encoding="utf-8",
    )
    (tmp_path / "network.yaml").write_text(
        "network: mind\nembedder: {engine: hash}\n"
        "agents:\n  first: {kind: 'mind:First', memory: {record: false}}\n",
        encoding="utf-8",
    )
    done = command("battery", "first", "-n", tmp_path / "network.yaml", "--problems", 2)
    assert done.exit_code == 0, done.output
    assert "first answered 43 of 43 questions" in done.output
    assert "always gave the same letter" in done.output
