"""The desk's charter: its values are held by checks that the gates admit, or are statements only."""

from pathlib import Path

import pytest
from anyio import fail_after

from repertory.runtime.experience import spec_of, trial_of
from repertory.runtime.manifest import load_manifest
from repertory.xp_store import check_gates, open_checker

DESK = Path(__file__).parents[2] / "examples" / "invoice_desk" / "network.yaml"
MANIFEST = load_manifest(DESK)
HELD = sorted({name for each in MANIFEST.experience.charter for name in each.checks})


def test_all_values_but_one_are_held_by_checks() -> None:
    """Paper: Stronger Together's charter; a value that nothing checks says so."""
    stated = [each.value for each in MANIFEST.experience.charter if not each.checks]
    assert stated == ["Vendors are treated fairly"]
    assert len(MANIFEST.experience.charter) == 5
    assert set(HELD) == set(MANIFEST.experience.checks)


@pytest.mark.parametrize("name", HELD)
async def test_the_gates_admit_every_check_of_the_charter(name: str) -> None:
    """Paper: EvoCUA's gates; what holds a value is fooled by no mutant that matters."""
    trial = trial_of(MANIFEST.experience.checks[name])
    with fail_after(120):
        async with open_checker() as checker:
            gates = await check_gates(spec_of(MANIFEST, name), [trial], checker=checker)
    assert gates.passed, str(gates)
