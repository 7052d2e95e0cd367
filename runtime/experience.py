"""The manifest's `experience` at work: what opens with a store, and which checks count.

Checks are put through the gates when a network opens, once for each check and each
set of trials; what the gates found is kept, and only that is read the next time.
"""

import logging
from dataclasses import dataclass
from typing import Any

import anyio.to_thread

from repertory.xp_store import (
    AdmissionStatus,
    Checker,
    CheckSpec,
    Database,
    Gates,
    PackStore,
    Redactor,
    Trial,
    check_gates,
    digest_of_trials,
    inherit,
    load_keys,
)

from .errors import ManifestError
from .kinds import load_reference
from .manifest import Manifest
from .manifest_experience import CheckEntry

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A check of the manifest, what the gates said of it, and whether they were asked anew."""

    name: str
    spec: CheckSpec
    status: AdmissionStatus
    gates: Gates
    anew: bool


async def open_redactor(manifest: Manifest, database: Database) -> Redactor:
    """The manifest's rules of redaction, with the key of the store.

    Raises:
        DraftInvalidError: A rule's pattern is no regular expression.
    """
    keys = await anyio.to_thread.run_sync(lambda: load_keys(database.key_base))
    return Redactor(manifest.experience.rules, keys.pseudonym)


def spec_of(manifest: Manifest, name: str) -> CheckSpec:
    """The check `name` of the manifest.

    Raises:
        ManifestError: What `use` names is no CheckSpec.
    """
    entry = manifest.experience.checks[name]
    if entry.use is None:
        assert entry.lang is not None, "the manifest demands one or the other"
        return CheckSpec(name, entry.lang, entry.code)
    found: Any = load_reference(manifest, entry.use)
    if not isinstance(found, CheckSpec):
        place = ("experience", "checks", name, "use")
        sentence = f"{entry.use!r} is {type(found).__name__}, not a CheckSpec of repertory.xp_store"
        raise ManifestError([manifest.finding("error", place, sentence)])
    return found


def trial_of(entry: CheckEntry) -> Trial:
    """What the gates try a check of the manifest on."""
    return Trial(entry.start, entry.reference, entry.about, entry.other)


async def admit_checks(
    manifest: Manifest, packs: PackStore, checker: Checker, *, tenant: str = "default"
) -> list[Admitted]:
    """Put the manifest's checks through the gates where that was not done yet."""
    known = {each.check_digest: each for each in await packs.admissions(tenant=tenant)}
    found: list[Admitted] = []
    for name, entry in manifest.experience.checks.items():
        spec = spec_of(manifest, name)
        trials = [trial_of(entry)]
        held = known.get(spec.digest)
        if held is not None:
            gates = Gates.parse(held.gates)
            if gates.trials == digest_of_trials(trials) and gates.about == trials[0].about:
                found.append(Admitted(name, spec, held.status, gates, anew=False))  # type: ignore[arg-type]  # the column holds what admission gave it
                continue
        gates = await check_gates(spec, trials, checker=checker)
        status = await packs.admit(spec, gates, tenant=tenant, actor=manifest.network)
        found.append(Admitted(name, spec, status, gates, anew=True))
    return found


async def prepare_experience(manifest: Manifest, packs: PackStore, checker: Checker) -> None:
    """What a network does with its packs before it starts: checks admitted, packs moved up."""
    # Reading the licenses' terms for the first time reads files, which no task should wait for.
    await anyio.to_thread.run_sync(inherit, manifest.experience.rights.at(packs.now()), ())
    for each in await admit_checks(manifest, packs, checker):
        if each.anew and each.status != "admitted":
            _log.warning("the check %r moves no trust: %s", each.name, each.gates)
    rules = manifest.experience.layer_rules
    if rules:
        await packs.govern.move_layers(rules, tenant="default", actor=manifest.network)
