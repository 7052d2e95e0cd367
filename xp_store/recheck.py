"""A pack's checks run again on what they were recorded with; a flaky one is quarantined."""

from dataclasses import dataclass

from .checker import Checker
from .checks import CheckSpec, Verdict
from .store import DEFAULT_TENANT, PackStore
from .tables import Pack

_WORDS = {True: "passed", False: "FAILED", None: "undecided"}


@dataclass(frozen=True, slots=True)
class Rechecked:
    """A check of a pack, what it says now (passed, FAILED, undecided or not run), and why."""

    check: str
    verdict: str
    about: str


async def check_again(
    store: PackStore,
    pack: Pack,
    checker: Checker,
    *,
    tenant: str = DEFAULT_TENANT,
    actor: str = "local",
) -> list[Rechecked]:
    """Run the checks of `pack` on the subjects that its steps kept, and judge the pack by them.

    A check that answers otherwise than before moves no trust any more.
    """
    said = {(each.check_digest, each.subject): each for each in await store.verdicts(pack)}
    found: list[Rechecked] = []
    checks: list[CheckSpec] = []
    verdicts: list[Verdict] = []
    for step in await store.steps(pack, tenant=tenant):
        asked = step.action.get("args", {})
        if step.action.get("kind") != "decision" or asked.get("judges") != "result":
            continue
        spec = CheckSpec(asked["name"], asked["lang"], asked["code"])
        verdict = await checker.run(spec, asked["subject"])
        before = said.get((verdict.digest, verdict.subject))
        if before is None:
            found.append(Rechecked(spec.name, "not run", "its subject was not kept as it was"))
            continue
        if before.passed is not None and verdict.passed is not before.passed:
            await store.distrust_check(spec, tenant=tenant, actor=actor)
            told = f"it said {_WORDS[before.passed]} before: quarantined"
            found.append(Rechecked(spec.name, _WORDS[verdict.passed], told))
            continue
        checks.append(spec)
        verdicts.append(verdict)
        found.append(Rechecked(spec.name, _WORDS[verdict.passed], verdict.detail or "as before"))
    if verdicts:
        await store.judge(pack.ref, checks, verdicts, tenant=tenant, actor=actor)
    return found
