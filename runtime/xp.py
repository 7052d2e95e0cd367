"""`repertory xp …`: what may be typed about experience packs; the work is in `cli_xp` and its kin."""

from pathlib import Path
from typing import Annotated

import typer

from .options import DEFAULT_MANIFEST, Json, Limit, Manifest, Store, example

xp = typer.Typer(no_args_is_help=True, help="Find, show, use and move experience packs.")

Pack = Annotated[
    str, typer.Argument(metavar="PACK", help="A pack's id, or enough of it to be the only one.")
]
Family = Annotated[str, typer.Option(help="Only packs of this family.")]
Tenant = Annotated[str, typer.Option(help="Whose packs.")]
Purpose = Annotated[
    str, typer.Option(help="What for; packs meant for certain purposes are given for those only.")
]


@xp.command("find", epilog=example("repertory xp find 'invoice whose sum is wrong' --explain"))
def find(
    query: Annotated[str, typer.Argument(help="What to look for, in words.")],
    manifest: Manifest = DEFAULT_MANIFEST,
    family: Family = "",
    limit: Limit = 8,
    tokens: Annotated[
        int | None, typer.Option(min=1, help="What the packs may take of a prompt together.")
    ] = None,
    purpose: Purpose = "",
    explain: Annotated[
        bool, typer.Option("--explain", help="Also show what was looked at and left.")
    ] = False,
    tenant: Tenant = "default",
    store: Store = "",
    as_json: Json = False,
) -> None:
    """Find packs by meaning and by words, each with why it was found, or say that none fits."""
    from .cli_xp import Question, find_packs

    question = Question(query, family, limit, tokens, purpose, tenant)
    raise typer.Exit(find_packs(manifest, question, explain, store, as_json))


@xp.command("show", epilog=example("repertory xp show 0198c5", "repertory xp show 0198c5 --why"))
def show(
    pack: Pack,
    manifest: Manifest = DEFAULT_MANIFEST,
    why: Annotated[bool, typer.Option("--why", help="Only its claims and their evidence.")] = False,
    how: Annotated[bool, typer.Option("--how", help="Only its steps and its result.")] = False,
    checks: Annotated[bool, typer.Option("--checks", help="Only its checks and verdicts.")] = False,
    lineage: Annotated[bool, typer.Option("--lineage", help="Only what it came from.")] = False,
    tenant: Tenant = "default",
    store: Store = "",
    as_json: Json = False,
) -> None:
    """Show a pack whole, or the parts that are named."""
    from .cli_xp import show_pack

    named = {"why": why, "how": how, "checks": checks, "lineage": lineage}
    parts = frozenset(name for name, wanted in named.items() if wanted)
    raise typer.Exit(show_pack(manifest, pack, parts, tenant, store, as_json))


@xp.command("use", epilog=example("repertory xp use 0198c5", "repertory xp use 0198c5 --lost"))
def use(
    packs: Annotated[list[str], typer.Argument(metavar="PACK...", help="The packs' ids.")],
    manifest: Manifest = DEFAULT_MANIFEST,
    won: Annotated[bool, typer.Option("--won", help="Note that the work succeeded.")] = False,
    lost: Annotated[bool, typer.Option("--lost", help="Note that the work failed.")] = False,
    purpose: Purpose = "",
    tenant: Tenant = "default",
    store: Store = "",
    as_json: Json = False,
) -> None:
    """Count that you work by these packs and print their HOW; or note what became of it."""
    from .cli_xp_use import use_packs

    raise typer.Exit(use_packs(manifest, packs, won, lost, purpose, tenant, store, as_json))


@xp.command("stats", epilog=example("repertory xp stats --family intake"))
def stats(
    manifest: Manifest = DEFAULT_MANIFEST,
    family: Family = "",
    tenant: Tenant = "default",
    store: Store = "",
    as_json: Json = False,
) -> None:
    """Show how often packs were recalled and used, and what that did to the tasks' checks."""
    from .cli_xp_use import show_stats

    raise typer.Exit(show_stats(manifest, family, tenant, store, as_json))


@xp.command(
    "export", epilog=example("repertory xp export packs.zip --family intake --status stable")
)
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The bundle to write, a zip.")],
    packs: Annotated[
        list[str] | None, typer.Argument(metavar="[PACK...]", help="Default: all that fit.")
    ] = None,
    manifest: Manifest = DEFAULT_MANIFEST,
    family: Family = "",
    status: Annotated[str, typer.Option(help="Only of this status; default: any.")] = "",
    purpose: Purpose = "",
    tenant: Tenant = "default",
    store: Store = "",
    as_json: Json = False,
) -> None:
    """Write packs into a bundle, those whose rights let them leave; say which do not."""
    from .cli_xp_move import export_to

    chosen = (packs or [], family, status, purpose)
    raise typer.Exit(export_to(manifest, file, *chosen, tenant, store, as_json))


@xp.command("import", epilog=example("repertory xp import packs.zip --source globex"))
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A bundle.")],
    manifest: Manifest = DEFAULT_MANIFEST,
    source: Annotated[str, typer.Option(help="Whom it is from; default: the file's name.")] = "",
    tenant: Tenant = "default",
    store: Store = "",
    as_json: Json = False,
) -> None:
    """Verify a bundle and take its packs in, quarantined until they are checked here."""
    from .cli_xp_move import import_from

    raise typer.Exit(import_from(manifest, file, source, tenant, store, as_json))


@xp.command(
    "serve",
    epilog=example("repertory xp serve -m network.yaml", "repertory xp serve --http --port 8421"),
)
def serve(
    manifest: Manifest = DEFAULT_MANIFEST,
    http: Annotated[
        bool, typer.Option("--http", help="Over HTTP on loopback, not on these pipes.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    govern: Annotated[
        bool,
        typer.Option(
            "--govern",
            help="Also check, promote, roll back, import and forget; the network must not run.",
        ),
    ] = False,
    store: Store = "",
) -> None:
    """Offer the store to an MCP host: on standard input and output, or over HTTP."""
    from .cli_xp_serve import serve_packs

    raise typer.Exit(serve_packs(manifest, http, port, govern, store))


@xp.command("reindex", epilog=example("repertory xp reindex"))
def reindex(
    manifest: Manifest = DEFAULT_MANIFEST, store: Store = "", as_json: Json = False
) -> None:
    """Build the vector index again from the database, which is the truth."""
    from .cli_xp import reindex_packs

    raise typer.Exit(reindex_packs(manifest, store, as_json))
