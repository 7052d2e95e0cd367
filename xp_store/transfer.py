"""Packs between stores: which may leave, and how those that arrive begin.

A pack leaves only when its rights allow export for the purpose that was named. One that
arrives is quarantined at the importer's prior, under an owner that says where it came
from, so that one selector finds all of a source; checks of this store must release it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256

import anyio.to_thread

from .arrivals import Arrival, Imported, read_bundle
from .bundle import Bundled, Exported, write_bundle
from .connection import Connection
from .crash_points import crash_point
from .digests import digest_of, instant
from .drafts import PackRef
from .ledger import append_entry
from .rights import Request, permits, rights_of
from .store import DEFAULT_TENANT, PackStore
from .tables import Pack

_KNOWN = (
    "SELECT p.id FROM xp_edge e JOIN xp_pack p ON p.digest = e.child"
    " WHERE e.parent = ? AND e.rel = 'derived_from' AND p.tenant = ?"
    " UNION ALL SELECT id FROM xp_pack WHERE digest = ? AND tenant = ?"
)
_EDGE = "INSERT INTO xp_edge (parent, child, rel) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_HEAD = "SELECT hash FROM xp_ledger ORDER BY seq DESC LIMIT 1"


async def export_packs(
    store: PackStore,
    packs: Sequence[Pack],
    *,
    request: Request,
    tenant: str = DEFAULT_TENANT,
    actor: str = "local",
) -> Exported:
    """Make a bundle of those `packs` whose rights allow `request`, an `export`."""
    now = store.now()
    own = [pack for pack in packs if pack.tenant == tenant]
    asked = replace(request, at=now)
    allowed: list[Bundled] = []
    left_out: list[tuple[str, str]] = []
    # Licenses and digests are read from files and computed beside the event loop.
    decisions = await anyio.to_thread.run_sync(
        lambda: [permits(rights_of(pack.rights), asked) for pack in own]
    )
    for pack, decision in zip(own, decisions, strict=True):
        if not decision.allowed:
            left_out.append((pack.id, decision.reason))
            continue
        allowed.append(
            Bundled(
                pack,
                await store.steps(pack),
                await store.checks(pack),
                await store.edges(pack),
                await store.govern.pack_card(pack),
            )
        )

    def note(connection: Connection) -> str:
        last = connection.execute(_HEAD).fetchone()
        append_entry(
            connection,
            at=instant(now),
            tenant=tenant,
            actor=actor,
            verb="export",
            reason=f"{len(allowed)} exported, {len(left_out)} left out",
            evidence=digest_of(sorted(each.pack.digest for each in allowed)),
        )
        return "" if last is None else str(last[0])

    head = await store.transact(note)
    data = await anyio.to_thread.run_sync(
        lambda: write_bundle(allowed, at=instant(now), ledger_head=head)
    )
    return Exported(data, sha256(data).hexdigest(), len(allowed), tuple(left_out))


async def import_packs(
    store: PackStore,
    data: bytes,
    *,
    source: str,
    name: str = "the bundle",
    tenant: str = DEFAULT_TENANT,
    actor: str = "local",
) -> Imported:
    """Write the packs of a bundle as quarantined ones of `tenant`, all of them or none.

    source: whom they come from, in the importer's words; it becomes part of their
    owner. A pack that arrived before is not written again.

    Raises:
        BundleError: It is no bundle, too large, or altered.
        DraftInvalidError: A pack is larger than a pack may be.
        RightsError: A pack's license is unknown.
    """
    bundle = await anyio.to_thread.run_sync(read_bundle, data, name)
    arrivals = [
        replace(
            each,
            draft=replace(
                each.draft,
                tenant=tenant,
                owner=f"import:{source}/{each.draft.owner}",
                reason=f"imported as {each.digest} from bundle {bundle.digest}",
            ),
        )
        for each in bundle.arrivals
    ]
    units = await anyio.to_thread.run_sync(
        lambda: [(each, store.unit(each.draft)) for each in arrivals]
    )

    def write(connection: Connection) -> tuple[tuple[str, ...], int]:
        written = _written(connection, units, tenant)
        here = {there: ref.digest for there, ref in written.items()}
        lines = [(there, digest, "derived_from") for there, digest in here.items()]
        lines += [
            (here[parent], here[child], relation)
            for parent, child, relation in bundle.edges
            if parent in here and child in here
        ]
        connection.executemany(_EDGE, lines)
        append_entry(
            connection,
            at=instant(store.now()),
            tenant=tenant,
            actor=actor,
            verb="import",
            reason=f"{len(written)} imported, {len(units) - len(written)} known,"
            f" from bundle {bundle.digest} of ledger {bundle.ledger_head or 'unknown'}",
            evidence=digest_of(sorted(here.values())),
        )
        crash_point("in-import")
        return tuple(ref.id for ref in written.values()), len(units) - len(written)

    ids, known = await store.transact(write)
    crash_point("after-import")
    store.wake()
    return Imported(bundle.digest, ids, known, bundle.ledger_head)


def _written(
    connection: Connection,
    units: Sequence[tuple[Arrival, Callable[[Connection], PackRef]]],
    tenant: str,
) -> dict[str, PackRef]:
    written: dict[str, PackRef] = {}
    for arrival, unit in units:
        digest = arrival.digest
        asked = (digest, tenant, digest, tenant)
        if digest in written or connection.execute(_KNOWN, asked).fetchone():
            continue
        written[digest] = unit(connection)
    return written
