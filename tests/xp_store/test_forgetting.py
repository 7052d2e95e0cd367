"""Forget: nothing is left, and what stays is as if it had never been."""

import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from repertory.xp_store import (
    Claim,
    Database,
    ForgetCertificate,
    Gates,
    HashEmbedder,
    Outcome,
    PackDraft,
    PackForgottenError,
    PackNotFoundError,
    PackRef,
    PackStore,
    Rights,
    Selector,
    StepDraft,
    StoreError,
    Verdict,
    open_database,
    open_pack_store,
    read_certificate,
    store_digest,
)
from tests.claims import claim

from .conftest import NOW, draft

MakeDraft = Callable[..., PackDraft]
OpenStore = Callable[..., AbstractAsyncContextManager[PackStore]]
ADMITTED = Gates(True, True, True, 1.0, 12)


async def forget(store: PackStore, *ids: str, **more: Any) -> ForgetCertificate:
    """Forget packs by their ids, as the test's actor."""
    return await store.govern.forget(Selector(ids=ids), tenant="default", actor="officer", **more)


@dataclass(frozen=True)
class Deed:
    """One thing done to a store at a time; `on` are numbers of earlier deeds that made packs."""

    verb: str
    number: int
    on: tuple[int, ...] = ()
    passed: bool = True


def story(seed: int, length: int = 24) -> list[Deed]:
    """Random deeds: packs recorded, using and revising others, judged, used, derived of."""
    rng = random.Random(seed)
    deeds: list[Deed] = []
    made: list[int] = []
    revised: set[int] = set()
    for number in range(length):
        verb = rng.choice(["record", "record", "use", "revise", "judge", "count", "derive"])
        free = [each for each in made if each not in revised]
        if not made or (verb == "revise" and not free):
            verb = "record"
        some = tuple(sorted(rng.sample(made, min(len(made), rng.randint(1, 3)))))
        match verb:
            case "record":
                deeds.append(Deed(verb, number))
                made.append(number)
            case "use" | "derive":
                deeds.append(Deed(verb, number, some, rng.random() < 0.7))
                made.append(number)
            case "revise":
                deeds.append(Deed(verb, number, (rng.choice(free),)))
                revised.add(deeds[-1].on[0])
                made.append(number)
            case _:
                deeds.append(Deed(verb, number, some[:1], rng.random() < 0.6))
    return deeds


async def live(
    store: PackStore, deeds: list[Deed], clock: list[Any], without: set[int]
) -> dict[int, PackRef]:
    """Do the deeds, leaving out those of `without`; the packs they made, by number."""
    check = draft().checks[0]
    await store.admit(check, ADMITTED)
    made: dict[int, PackRef] = {}
    for deed in deeds:
        clock[0] = NOW + timedelta(hours=deed.number)
        on = [made[each] for each in deed.on if each in made]
        if deed.number in without or (deed.on and not on):
            continue
        subject = f"subject {deed.number}"
        verdict = Verdict("sum", deed.passed, "", check.digest, subject)
        plain = replace(
            draft(f"post invoice {deed.number} of vendor {deed.number * 7919}"),
            verdicts=(verdict,),
            outcome=Outcome("pass" if deed.passed else "fail"),
            why=(Claim(f"reason {deed.number}", (1,)),),
            valid_from=clock[0],
        )
        match deed.verb:
            case "record":
                made[deed.number] = await store.record(plain)
            case "use":
                made[deed.number] = await store.record(replace(plain, used=tuple(on)))
            case "revise":
                over = replace(plain, id=on[0].id, parents=((on[0].digest, "supersedes"),))
                made[deed.number] = await store.record(over)
            case "judge":
                await store.judge(on[0], [check], [verdict])
            case "count":
                await store.mark_used([on[0].id])
                await store.mark_outcome([on[0].id], won=deed.passed)
            case "derive":
                ref = await store.govern.derive("tally", on, tenant="default", owner="learner")
                assert ref is not None
                made[deed.number] = ref
    return made


def consequences(deeds: list[Deed], forgotten: int) -> tuple[set[int], set[int]]:
    """What must be left out were `forgotten` never done, and the derived packs that stay."""
    gone = {forgotten}
    derived: set[int] = set()
    changed = True
    while changed:
        changed = False
        for deed in deeds:
            if deed.number in gone | derived:
                continue
            touched = [each for each in deed.on if each in gone or each in derived]
            # A revision takes what it revises along, and the other way round.
            if deed.verb == "revise" and deed.on[0] == forgotten:
                touched.append(forgotten)
            if not touched:
                continue
            if deed.verb == "derive":
                derived.add(deed.number)
                changed = True
            elif deed.verb in ("use", "revise"):
                gone.add(deed.number)
                changed = True
            elif deed.verb in ("judge", "count"):
                # What was said of a pack that is made again was not said of what it is now.
                gone.add(deed.number)
                changed = True
        for deed in deeds:
            revised = deed.verb == "revise" and deed.number in gone
            if revised and deed.on[0] not in gone | derived:
                gone.add(deed.on[0])
                changed = True
    return gone, derived


@pytest.mark.both_engines
@pytest.mark.parametrize("seed", range(12))
@claim("dmm:forget")
async def test_a_store_after_a_forget_equals_one_that_never_held_it(
    tmp_path: Path, seed: int
) -> None:
    """Paper: DMM-Gov; "as if never learned", digest for digest, over random histories."""
    deeds = story(seed)
    packs = [deed.number for deed in deeds if deed.verb in ("record", "use")]
    forgotten = random.Random(seed).choice(packs)
    gone, _ = consequences(deeds, forgotten)
    digests = []
    for name, without in (("forgot", set()), ("never", gone)):
        clock = [NOW]
        async with (
            open_database(f"sqlite:///{tmp_path}/{name}.db") as database,
            open_pack_store(
                database, embedder=HashEmbedder(64), clock=partial(clock.__getitem__, 0)
            ) as store,
        ):
            made = await live(store, deeds, clock, without)
            if name == "forgot":
                certificate = await forget(store, made[forgotten].id)
                assert certificate.complete, certificate.model_dump_json()
            digests.append(await database.read(lambda each: store_digest(each, "default")))
            report = await store.verify_ledger()
            assert report.intact, report.problems
    assert digests[0] == digests[1], f"seed {seed}: {deeds}, forgot {forgotten}"


SECRETS = (
    "Wilhelmina Oxenstierna-Quackenbush",
    "wilhelmina.q@oxenstierna.example",
    "the retaining wall of her orchard, 4711 stones",
)


async def plant(store: PackStore, make_draft: MakeDraft) -> PackRef:
    """A pack about a person among others, used by a second one; both are findable."""
    for number in range(20):
        await store.record(make_draft(f"post invoice {number} of a plain vendor"))
    step = StepDraft(
        {"kind": "tool", "name": "mail.send", "args": {"to": SECRETS[1]}},
        f"sent to {SECRETS[0]}",
        NOW,
        "clerk",
        state=SECRETS[2],
    )
    ref = await store.record(
        make_draft(f"write to {SECRETS[0]}", situation=SECRETS[2], steps=(step,))
    )
    await store.record(make_draft("thank for the letter", used=(ref,), situation=SECRETS[2]))
    await store.wait_indexed()
    return ref


@pytest.mark.both_engines
@claim("dmm:forget")
async def test_no_byte_is_left_in_any_file(tmp_path: Path, make_draft: MakeDraft) -> None:
    """Paper: DMM-Gov; after plain deletes the text and the vector stay in the files."""
    index, log = tmp_path / "index", tmp_path / "network.log"
    await anyio.Path(log).write_text("nothing of it is in the log\n")
    async with (
        open_database(f"sqlite:///{tmp_path}/store.db") as database,
        open_pack_store(database, embedder=HashEmbedder(64), index=index) as store,
    ):
        ref = await plant(store, make_draft)
        assert any(hit.pack.id == ref.id for hit in await store.recall(SECRETS[2]))
        held = await anyio.Path(tmp_path / "store.db-wal").read_bytes()
        held += await anyio.Path(tmp_path / "store.db").read_bytes()
        assert all(secret.encode() in held for secret in SECRETS), (
            "the test looks for what is there"
        )
        certificate = await forget(store, ref.id, also_scan=[log])
        assert certificate.complete, certificate.model_dump_json()
        assert (certificate.deleted, certificate.retained) == (2, 20)
        assert certificate.files >= 4, "the store, the index and the log were read"
        assert certificate.utility_after is not None
        assert not any(hit.pack.id == ref.id for hit in await store.recall(SECRETS[2]))
        left = [path async for path in anyio.Path(tmp_path).rglob("*") if await path.is_file()]
        for path in left:
            content = await path.read_bytes()
            assert not any(secret.encode() in content for secret in SECRETS), path
        assert (await store.verify_ledger()).intact


@pytest.mark.both_engines
async def test_residue_is_found_where_there_is_some(tmp_path: Path, make_draft: MakeDraft) -> None:
    """Ours: a scan that finds nothing must be able to find something."""
    log = tmp_path / "network.log"
    await anyio.Path(log).write_text(f"a tool said: {SECRETS[2]}\n")
    async with (
        open_database(f"sqlite:///{tmp_path}/store.db") as database,
        open_pack_store(database, embedder=HashEmbedder(64)) as store,
    ):
        ref = await plant(store, make_draft)
        certificate = await forget(store, ref.id, also_scan=[log])
    assert not certificate.complete
    assert set(certificate.residue_scan) == {"network.log"}


@pytest.mark.both_engines
async def test_a_certificate_is_signed_and_any_change_breaks_it(
    store: PackStore, make_draft: MakeDraft, tmp_path: Path
) -> None:
    """Paper: DMM-Gov's F1 to F7; a certificate can be handed on and checked."""
    ref = await store.record(make_draft())
    certificate = await forget(store, ref.id)
    file = tmp_path / "certificate.json"
    await anyio.Path(file).write_text(certificate.model_dump_json(indent=1))
    again = await anyio.to_thread.run_sync(read_certificate, file)
    assert again == certificate
    assert again.verify()
    assert not again.model_copy(update={"deleted": 0}).verify()
    assert not again.model_copy(update={"residue_scan": {"x": 1}}).verify()
    other = again.model_copy(update={"public_key": "00" * 32})
    assert not other.verify()
    entry = (await store.ledger())[0]
    assert (entry.verb, entry.hash) == ("certify", certificate.ledger_hash)
    with pytest.raises(StoreError, match="is no certificate of a forget"):
        await anyio.to_thread.run_sync(read_certificate, Path(__file__))


@pytest.mark.both_engines
async def test_packs_are_meant_by_person_source_time_and_text(
    open_store: OpenStore, make_draft: MakeDraft
) -> None:
    """Ours: four ways to say what to forget, each narrowing, and an empty one means nothing."""
    now = [NOW]
    async with open_store(clock=lambda: now[0]) as store:
        await store.record(make_draft("one"))
        now[0] = NOW + timedelta(days=2)
        await store.record(make_draft("two", owner="clerk", rights=Rights(subjects=("abc",))))
        odd = StepDraft({"kind": "tool", "name": "t", "args": {"q": 'say "näh"'}}, "", NOW, "a")
        await store.record(make_draft("three", steps=(odd,)))

        async def goals(selector: Selector) -> list[str]:
            reach = await store.govern.meant(selector, tenant="default")
            return [pack.goal for pack in (await store.find())[::-1] if pack.digest in reach.meant]

        assert await goals(Selector(subjects=("abc",))) == ["two"]
        assert await goals(Selector(source="clerk")) == ["two"]
        assert await goals(Selector(since=NOW + timedelta(days=1))) == ["two", "three"]
        assert await goals(Selector(until=NOW + timedelta(days=1))) == ["one"]
        assert await goals(Selector(text=('say "näh"',))) == ["three"]
        assert await goals(Selector(text=("three",), subjects=("abc",))) == ["two", "three"]
        assert await goals(Selector(source="clerk", until=NOW)) == []
        assert await goals(Selector()) == []
        with pytest.raises(PackNotFoundError, match="no pack is meant by source stranger"):
            await store.govern.forget(Selector(source="stranger"), tenant="default", actor="x")


@pytest.mark.both_engines
async def test_what_rests_on_a_forgotten_pack_is_not_recorded(
    store: PackStore, make_draft: MakeDraft
) -> None:
    """Ours: a task that had recalled it ends after it was forgotten; its steps still hold it."""
    ref = await store.record(make_draft())
    await forget(store, ref.id)
    with pytest.raises(PackForgottenError, match="nothing was recorded"):
        await store.record(make_draft("later", used=(ref,)))
    assert await store.count() == 0


@pytest.mark.both_engines
async def test_another_tenants_packs_stay(store: PackStore, make_draft: MakeDraft) -> None:
    """Ours: a forget is one tenant's."""
    mine = await store.record(make_draft())
    theirs = await store.record(make_draft(tenant="other"))
    assert theirs.digest != mine.digest
    with pytest.raises(PackNotFoundError):
        await forget(store, theirs.id)
    await forget(store, mine.id)
    assert (await store.get(theirs.id, tenant="other")).digest == theirs.digest


async def test_a_reader_of_another_process_keeps_no_file_from_being_purged_silently(
    database: Database, store: PackStore, make_draft: MakeDraft
) -> None:
    """Ours: a certificate is never issued over files that could not be rewritten."""
    import sqlite3

    ref = await store.record(make_draft())
    reader = sqlite3.connect(database.name, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM xp_pack").fetchone()
    try:
        with pytest.raises(StoreError, match="another process reads it"):
            await forget(store, ref.id)
    finally:
        reader.execute("COMMIT")
        reader.close()
