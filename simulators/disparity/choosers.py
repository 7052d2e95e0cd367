"""Choosers of known parameters, and the gambles to know them by."""

from collections.abc import Sequence

import numpy as np

from .choices import GambleChoice, Prospect, gamble_arrays, prospect_value


def gambles(count: int, seed: int = 0) -> list[GambleChoice]:
    """Pairs of gambles over gains, losses and both, alike in expected value; nobody chose yet."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        made.append(GambleChoice("", _gamble(rng), _gamble(rng), 0, f"gamble {number}"))
    return made


def _gamble(rng: np.random.Generator) -> Sequence[tuple[float, float]]:
    chance = float(rng.choice([0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98]))
    first, second = (float(x) for x in np.round(10 ** rng.uniform(0.3, 2.5, 2)))
    signs = rng.choice([-1.0, 1.0], 2)
    return ((float(first * signs[0]), chance), (float(second * signs[1]), 1 - chance))


def chooser(
    actor: str, problems: Sequence[GambleChoice], by: Prospect, seed: int = 0
) -> list[GambleChoice]:
    """How a prospect-theory chooser with these parameters picks, each problem once."""
    ax, ap, bx, bp = gamble_arrays(problems)
    gap = prospect_value(bx, bp, by) - prospect_value(ax, ap, by)
    odds = 1 / (1 + np.exp(-np.clip(gap / by.temperature, -500, 500)))
    drawn = np.random.default_rng(seed).random(len(problems)) < odds
    return [
        GambleChoice(actor, c.a, c.b, int(hit), c.problem, c.order, c.frame)
        for c, hit in zip(problems, drawn, strict=True)
    ]
