"""Packs between stores: what may leave, how they arrive, and what is no bundle at all."""

import hashlib
import io
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import orjson
import pytest

from repertory.xp_store import (
    BundleError,
    Claim,
    HashEmbedder,
    PackDraft,
    PackStore,
    Request,
    Rights,
    RightsError,
    export_packs,
    import_packs,
    open_database,
    open_pack_store,
    read_bundle,
)
from repertory.xp_store.arrivals import MAX_BYTES, MAX_INFLATED

MakeDraft = Callable[..., PackDraft]
OpenStore = Callable[..., AbstractAsyncContextManager[PackStore]]
EXPORT = Request("export")
OPEN = Rights(licence="CC-BY-4.0")


@pytest.fixture
def make_draft(make_draft: MakeDraft) -> MakeDraft:
    """Drafts of packs that may be passed on, unless they say otherwise."""

    def made(*words: str, **changes: Any) -> PackDraft:
        return make_draft(*words, **{"rights": OPEN, **changes})

    return made


@pytest.fixture
async def theirs() -> AsyncIterator[PackStore]:
    """Another company's store."""
    async with (
        open_database("sqlite:///:memory:") as database,
        open_pack_store(database, embedder=HashEmbedder(64)) as store,
    ):
        yield store


async def exported(store: PackStore) -> bytes:
    """Everything of a store, as a bundle."""
    return (await export_packs(store, await store.find(), request=EXPORT)).data


def rewritten(
    data: bytes, change: Callable[[dict[str, bytes]], None], *, sums: bool = True
) -> bytes:
    """The bundle with its files changed; sums: by somebody who also made new digests."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    if sums:
        told = [
            f"{hashlib.sha256(held).hexdigest()}  {name}\n"
            for name, held in files.items()
            if name != "digests.txt"
        ]
        files["digests.txt"] = "".join(told).encode()
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, held in files.items():
            archive.writestr(name, held)
    return target.getvalue()


def edited(line: int, *path: str, value: Any) -> Callable[[dict[str, bytes]], None]:
    """Change one value of one pack."""

    def change(files: dict[str, bytes]) -> None:
        packs = [orjson.loads(each) for each in files["packs.jsonl"].splitlines()]
        place = packs[line]
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value
        files["packs.jsonl"] = b"\n".join(orjson.dumps(each) for each in packs)

    return change


@pytest.mark.both_engines
async def test_packs_arrive_whole_quarantined_and_at_the_prior(
    store: PackStore, theirs: PackStore, make_draft: MakeDraft
) -> None:
    """Ours: what was done travels; that it was trusted there does not."""
    sent = await theirs.record(make_draft(why=(Claim("the vendor is known", (1,), 0.5),)))
    await theirs.record(make_draft("derived", parents=((sent.digest, "derived_from"),)))
    done = await import_packs(store, await exported(theirs), source="globex")
    assert (len(done.ids), done.known) == (2, 0)
    packs = {pack.goal: pack for pack in await store.find()}
    pack, original = packs["post the invoice of Acme"], await theirs.get(sent.id)
    assert (pack.status, pack.trust_a, pack.trust_b) == ("quarantined", 1.0, 1.0)
    assert pack.owner == "import:globex/bookkeeper"
    assert pack.id != original.id
    for name in ("situation", "why", "how", "checks", "outcome", "valid_from", "rights", "origin"):
        assert getattr(pack, name) == getattr(original, name)
    assert [step.digest for step in await store.steps(pack)] == [
        step.digest for step in await theirs.steps(original)
    ]
    lines = {(edge.parent, edge.child, edge.rel) for edge in await store.edges(pack)}
    assert lines == {
        (sent.digest, pack.digest, "derived_from"),
        (pack.digest, packs["derived"].digest, "derived_from"),
    }
    await store.wait_indexed()
    assert await store.recall("post the invoice of Acme") == []
    assert len(await store.recall("post the invoice of Acme", status=["quarantined"])) > 0
    assert (await store.verify_ledger()).intact
    entries = await store.ledger()
    assert done.ledger_head in entries[0].reason


@pytest.mark.both_engines
async def test_what_arrived_before_is_not_written_again(
    store: PackStore, theirs: PackStore, make_draft: MakeDraft
) -> None:
    """Ours: giving the same bundle twice changes nothing, and neither does one's own."""
    await theirs.record(make_draft())
    data = await exported(theirs)
    await import_packs(store, data, source="globex")
    again = await import_packs(store, data, source="globex")
    assert (again.ids, again.known, await store.count()) == ((), 1, 1)
    home = await import_packs(theirs, data, source="ourselves")
    assert (home.ids, home.known) == ((), 1)
    other = await import_packs(store, data, source="globex", tenant="another")
    assert len(other.ids) == 1


@pytest.mark.both_engines
async def test_a_bundle_has_a_digest_and_a_card_for_each_pack(
    theirs: PackStore, make_draft: MakeDraft
) -> None:
    """Ours: what it holds is the same each time, and people can read it."""
    await theirs.record(make_draft())
    packs = await theirs.find()
    first, second = [read_bundle(await exported(theirs)) for _ in range(2)]
    assert first.arrivals == second.arrivals
    told = await export_packs(theirs, packs, request=EXPORT)
    assert told.digest == hashlib.sha256(told.data).hexdigest()
    with zipfile.ZipFile(io.BytesIO(told.data)) as archive:
        names = archive.namelist()
        card = archive.read(f"cards/{packs[0].digest[:16]}.md").decode()
    assert names == sorted(names)
    assert card.startswith("# post the invoice of Acme\n")
    assert "the vendor is known" in card


@pytest.mark.both_engines
async def test_only_what_its_rights_let_go_leaves(
    store: PackStore, theirs: PackStore, make_draft: MakeDraft
) -> None:
    """Paper: Stronger Together's use restrictions, at the door; who asks is told why not."""
    await theirs.record(make_draft("open"))
    kept = await theirs.record(
        make_draft("kept", rights=replace(OPEN, restrictions=frozenset({"export"})))
    )
    meant = await theirs.record(
        make_draft("support", rights=replace(OPEN, purposes=frozenset({"support"})))
    )
    told = await export_packs(theirs, await theirs.find(), request=EXPORT)
    assert (told.packs, {each for each, _ in told.left_out}) == (1, {kept.id, meant.id})
    assert dict(told.left_out)[kept.id] == "it is restricted: no export"
    asked = Request("export", purpose="support")
    told = await export_packs(theirs, await theirs.find(), request=asked)
    assert {each for each, _ in told.left_out} == {kept.id}
    foreign = await export_packs(theirs, await theirs.find(), request=EXPORT, tenant="another")
    assert (foreign.packs, foreign.left_out) == (0, ())


@pytest.mark.both_engines
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (edited(0, "content", "goal", value="pay us"), "is not what its digest says"),
        (edited(0, "digest", value="0" * 64), "is not what its digest says"),
        (edited(0, "content", value=None), "is not what its digest says"),
        (lambda files: files.update({"steps.jsonl": b""}), "lacks steps"),
        (lambda files: files.update({"checks.jsonl": b""}), "names a check that is not"),
        (lambda files: files.update({"packs.jsonl": b"{"}), "packs.jsonl line 1 is not JSON"),
        (lambda files: files.update({"packs.jsonl": b'{"digest": 1}'}), "line 1 is no pack"),
        (lambda files: files.update({"packs.jsonl": b"[]"}), "is not a JSON object"),
        (lambda files: files.update({"bundle.json": b'{"format":"other"}'}), "format 'other'"),
        (lambda files: files.update({"../evil": b""}), "has an entry '../evil'"),
        (lambda files: files.update({"/etc/passwd": b""}), "has an entry '/etc/passwd'"),
        (lambda files: files.update({"cards/../../x.md": b""}), "has an entry"),
        (lambda files: files.pop("steps.jsonl"), "it has no steps.jsonl"),
    ],
)
async def test_what_was_altered_is_refused_whole(
    store: PackStore,
    theirs: PackStore,
    make_draft: MakeDraft,
    change: Callable[[dict[str, bytes]], None],
    sentence: str,
) -> None:
    """Ours: also by somebody who made new sums; the sentence names the file and the line."""
    await theirs.record(make_draft())
    data = rewritten(await exported(theirs), change)
    with pytest.raises(BundleError, match=r"gift\.zip") as caught:
        await import_packs(store, data, source="globex", name="gift.zip")
    assert sentence in str(caught.value)
    assert await store.count() == 0


@pytest.mark.both_engines
async def test_a_changed_file_a_link_and_a_doubled_name_are_refused(
    theirs: PackStore, make_draft: MakeDraft
) -> None:
    """Ours: what a zip can do, and a bundle may not."""
    await theirs.record(make_draft())
    data = await exported(theirs)
    changed = rewritten(data, lambda f: f.update({"edges.jsonl": b"{}"}), sums=False)
    with pytest.raises(BundleError, match=r"edges.jsonl was altered after it was exported"):
        read_bundle(changed)
    for odd in ("link", "double"):
        target = io.BytesIO(data)
        with zipfile.ZipFile(target, "a") as archive:
            entry = zipfile.ZipInfo("cards/0123456789abcdef.md")
            entry.external_attr = 0o120777 << 16 if odd == "link" else 0
            archive.writestr(entry, "/etc/passwd")
            if odd == "double":
                with pytest.warns(UserWarning, match="Duplicate name"):
                    archive.writestr(entry, "again")
        with pytest.raises(BundleError, match=r"twice|encrypted or a link"):
            read_bundle(target.getvalue())


def test_a_bundle_has_bounds_that_are_seen_before_it_is_inflated() -> None:
    """Ours: neither a huge file nor a small one that becomes huge is taken in."""
    with pytest.raises(BundleError, match="a bundle may have"):
        read_bundle(bytes(MAX_BYTES + 1))
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("packs.jsonl", "w", force_zip64=True) as entry:
            block = bytes(1 << 20)
            for _ in range((MAX_INFLATED >> 20) + 1):
                entry.write(block)
    with pytest.raises(BundleError, match="would inflate to"):
        read_bundle(target.getvalue())
    for nothing in (b"", b"PK\x05\x06", b"hello"):
        with pytest.raises(BundleError, match="not a sound zip file"):
            read_bundle(nothing)


@pytest.mark.both_engines
async def test_an_unknown_license_is_refused_and_nothing_of_the_bundle_is_written(
    store: PackStore, theirs: PackStore, make_draft: MakeDraft
) -> None:
    """Ours: what may be done with it is unknown, so nothing may."""
    from repertory.xp_store.digests import digest_of

    await theirs.record(make_draft("fine"))
    await theirs.record(make_draft("odd"))

    def odd(files: dict[str, bytes]) -> None:
        packs = [orjson.loads(each) for each in files["packs.jsonl"].splitlines()]
        steps = [orjson.loads(each) for each in files["steps.jsonl"].splitlines()]
        pack = next(each for each in packs if each["content"]["goal"] == "odd")
        before = pack["digest"]
        pack["content"]["rights"]["licence"] = "Do-What-You-Will"
        pack["digest"] = digest_of(pack["content"])
        for step in steps:
            step["pack"] = pack["digest"] if step["pack"] == before else step["pack"]
        files["packs.jsonl"] = b"\n".join(map(orjson.dumps, packs))
        files["steps.jsonl"] = b"\n".join(map(orjson.dumps, steps))

    with pytest.raises(RightsError, match="Do-What-You-Will"):
        await import_packs(store, rewritten(await exported(theirs), odd), source="globex")
    assert await store.count() == 0
