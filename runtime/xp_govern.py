"""`repertory xp …`: what may be typed about checks, changes and forgetting; the work is elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from .options import DEFAULT_MANIFEST, Json, Manifest, Store, example
from .xp import Tenant, xp

__all__ = ["xp"]

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Reason = Annotated[str, typer.Option(help="Why; the ledger keeps it.")]
Source = Annotated[
    str, typer.Option(help="Who or what it came from: an agent, a principal, a task, a trace.")
]


@xp.command("check", epilog=example("repertory xp check", "repertory xp check 0198c5"))
def check(
    pack: Annotated[str, typer.Argument(metavar="[PACK]", help="Default: the checks.")] = "",
    manifest: Manifest = DEFAULT_MANIFEST,
    tenant: Tenant = "default",
    store: Store = "",
    as_json: Json = False,
) -> None:
    """Put the manifest's checks through the gates; or run a pack's admitted checks again."""
    from .cli_govern import check_pack, show_checks

    if pack:
        raise typer.Exit(check_pack(manifest, pack, tenant, store, as_json))
    raise typer.Exit(show_checks(manifest, tenant, store, as_json))


@xp.command(
    "promote", epilog=example("repertory xp promote 0198c5", "repertory xp promote --layers")
)
def promote(
    packs: Annotated[
        list[str] | None, typer.Argument(metavar="[PACK...]", help="Candidates, by their ids.")
    ] = None,
    manifest: Manifest = DEFAULT_MANIFEST,
    layers: Annotated[
        bool, typer.Option("--layers", help="Move packs between layers, as the manifest says.")
    ] = False,
    replays: Annotated[
        int, typer.Option(min=1, help="The most retained tasks that are run again.")
    ] = 8,
    tenant: Tenant = "default",
    store: Store = "",
    as_json: Json = False,
) -> None:
    """Run retained tasks with and without packs, and make the packs stable if they reach what is demanded."""
    from .cli_change import move_layers, promote_packs

    if layers:
        raise typer.Exit(move_layers(manifest, tenant, store, as_json))
    raise typer.Exit(promote_packs(manifest, packs or [], replays, tenant, store, as_json))


@xp.command("diff", epilog=example("repertory xp diff 2026-11-20 now"))
def diff(
    before: Annotated[str, typer.Argument(metavar="WHEN", help="A date or a moment, ISO 8601.")],
    after: Annotated[str, typer.Argument(metavar="[WHEN]", help="Default: now.")] = "now",
    manifest: Manifest = DEFAULT_MANIFEST,
    tenant: Tenant = "default",
    store: Store = "",
    as_json: Json = False,
) -> None:
    """Show which packs became stable between two moments, and which no longer are."""
    from .cli_change import show_diff

    raise typer.Exit(show_diff(manifest, before, after, tenant, store, as_json))


@xp.command(
    "rollback",
    epilog=example(
        "repertory xp rollback --change 0198c5", "repertory xp rollback --source mallory"
    ),
)
def rollback(
    pack: Annotated[str, typer.Argument(metavar="[PACK]", help="A pack's id.")] = "",
    manifest: Manifest = DEFAULT_MANIFEST,
    change: Annotated[str, typer.Option(help="A promoted change, by its id.")] = "",
    source: Source = "",
    reason: Reason = "rolled back",
    yes: Yes = False,
    tenant: Tenant = "default",
    store: Store = "",
    as_json: Json = False,
) -> None:
    """Retire the packs of a change or a source, and everything that came of them."""
    from .cli_change import roll_back

    raise typer.Exit(roll_back(manifest, pack, change, source, reason, yes, tenant, store, as_json))


@xp.command(
    "forget",
    epilog=example(
        "repertory xp forget --subject jane@example.org --certificate out.json",
        "repertory xp forget 0198c5 --dry-run",
    ),
)
def forget(
    packs: Annotated[
        list[str] | None, typer.Argument(metavar="[PACK...]", help="Packs, by their ids.")
    ] = None,
    manifest: Manifest = DEFAULT_MANIFEST,
    subject: Annotated[
        str, typer.Option(help="A person's name, address or number, as it was written.")
    ] = "",
    source: Source = "",
    since: Annotated[str, typer.Option(help="Recorded from this moment on, ISO 8601.")] = "",
    until: Annotated[str, typer.Option(help="Recorded before this moment, ISO 8601.")] = "",
    query: Annotated[str, typer.Option(help="Packs that are found by these words.")] = "",
    expired: Annotated[
        bool, typer.Option("--expired", help="Packs whose time to be kept is over.")
    ] = False,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Finish a forget that was interrupted.")
    ] = False,
    certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write the signed certificate.")
    ] = None,
    reason: Reason = "asked for",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be forgotten.")
    ] = False,
    yes: Yes = False,
    tenant: Tenant = "default",
    store: Store = "",
    as_json: Json = False,
) -> None:
    """Forget packs, what came of them and their tasks; purge every file, and prove it."""
    from .cli_forget import Asked, forget_packs

    asked = Asked(
        tuple(packs or ()),
        subject,
        source,
        since,
        until,
        query,
        expired,
        reason,
        unfinished,
        dry_run,
        yes,
    )
    raise typer.Exit(forget_packs(manifest, asked, certificate, tenant, store, as_json))


@xp.command(
    "verify", epilog=example("repertory xp verify", "repertory xp verify --certificate out.json")
)
def verify(
    manifest: Manifest = DEFAULT_MANIFEST,
    certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A certificate to check as well.")
    ] = None,
    store: Store = "",
    as_json: Json = False,
) -> None:
    """Walk the ledger and compare everything with it; say what was tampered with."""
    from .cli_govern import verify_store

    raise typer.Exit(verify_store(manifest, certificate, store, as_json))


@xp.command("card", epilog=example("repertory xp card 0198c5", "repertory xp card --agent intake"))
def card(
    pack: Annotated[str, typer.Argument(metavar="[PACK]", help="A pack's id.")] = "",
    manifest: Manifest = DEFAULT_MANIFEST,
    agent: Annotated[str, typer.Option(help="The card of an agent instead.")] = "",
    model: Annotated[str, typer.Option(help="The card of a model instead.")] = "",
    data: Annotated[
        bool, typer.Option("--data", help="The statement of all data instead.")
    ] = False,
    charter: Annotated[bool, typer.Option("--charter", help="The charter instead.")] = False,
    tenant: Tenant = "default",
    store: Store = "",
    as_json: Json = False,
) -> None:
    """Print a card in Markdown, made from the ledger: of a pack, an agent, a model, or all data."""
    from .cli_govern import Wanted, show_card

    wanted = Wanted(pack, agent, model, data, charter)
    raise typer.Exit(show_card(manifest, wanted, tenant, store, as_json))
