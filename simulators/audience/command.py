"""`repertory audience`: the simulator's commands. Nothing heavy is imported before one is given."""

from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from repertory.simulators.commands import Runner

MANIFEST = Path(__file__).with_name("network.yaml")
_RUN = "run"
_SEATS = 8


class _Audience(TyperGroup):
    """A group whose first word may be a file: `repertory audience launch.yaml` runs it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in {"-h", "--help"}:
            args = [_RUN, *args]
        return super().parse_args(ctx, args)


def add(app: typer.Typer, runner: Runner) -> None:
    """Add `audience` and what belongs to it."""
    audience = typer.Typer(
        cls=_Audience,
        no_args_is_help=True,
        help=(
            "Try what to say on simulated audiences: `repertory audience SCENARIO…` is short for"
            " `repertory audience run SCENARIO…`."
        ),
        epilog="[dim]$ repertory audience launch.yaml[/dim]",
    )
    app.add_typer(audience, name="audience", rich_help_panel="Simulate")
    _add_run(audience, runner)
    _add_train(audience)


def _add_run(audience: typer.Typer, runner: Runner) -> None:
    @audience.command(_RUN, epilog="[dim]$ repertory audience launch.yaml --out reports/[/dim]")
    def run(
        scenarios: Annotated[
            list[Path],
            typer.Argument(
                metavar="SCENARIO…",
                help="Scenario files (YAML), or folders of them.",
                show_default=False,
            ),
        ],
        out: Annotated[
            Path, typer.Option("--out", "-o", help="The folder for the reports.")
        ] = Path("audience-reports"),
        judge: Annotated[
            Literal["auto", "features", "reaction", "pairwise"],
            typer.Option(
                help="features: no model. reaction: a model of tier score. pairwise: one of tier"
                " judge. auto: pairwise where the model may judge, else features."
            ),
        ] = "auto",
        primitive: Annotated[
            Literal["pairs", "scale"], typer.Option(help="Compare pairs, or rate on a scale.")
        ] = "pairs",
        budget: Annotated[
            Literal["auto", "all", "sorted"],
            typer.Option(help="All pairs, or at most n log n of them by sorting."),
        ] = "auto",
        meaning: Annotated[
            bool,
            typer.Option(
                "--meaning/--no-meaning",
                help="Read meaning as well, which needs the embedder's files.",
            ),
        ] = True,
        trained: Annotated[
            Path | None,
            typer.Option("--trained", help="A judge of your own, from `audience train`."),
        ] = None,
        manifest: Annotated[
            Path | None,
            typer.Option(
                "--manifest", "-m", help="A network of your own, with agents of the same names."
            ),
        ] = None,
        again: Annotated[bool, typer.Option("--again", help="Give anew what had failed.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    ) -> None:
        """Find what to say: explore advice, write candidates, ask each audience, and report.

        The report is a folder of pages, with Markdown, Word and JSON. What worked is
        remembered in the folder of --out and used for similar goals.
        """
        seat: dict[str, Any] = {
            "judge": judge,
            "primitive": primitive,
            "budget": budget,
            "meaning": meaning,
        }
        if trained is not None:
            seat["trained"] = str(trained.absolute())
        options: dict[str, dict[str, Any]] = {
            "moderator": {"out": str(out)},
            "explorer": {"meaning": meaning},
            "writer": {"meaning": meaning},
        }
        options |= {f"audience-{i}": seat for i in range(1, _SEATS + 1)}
        # Other settings are other work: their tasks are kept apart, so that none is answered by an old one.
        kind = _settings(seat, trained)
        store = "" if manifest else f"sqlite:///{out.absolute() / '.repertory' / f'{kind}.db'}"
        status = runner.run(
            manifest or MANIFEST,
            scenarios,
            options=options,
            store=store,
            again=again,
            as_json=as_json,
        )
        raise typer.Exit(status)


def _settings(seat: dict[str, Any], trained: Path | None) -> str:
    """What the answers depend on besides the scenario."""
    own = trained.read_bytes() if trained is not None and trained.is_file() else b""
    return sha256(repr(sorted(seat.items())).encode() + own).hexdigest()[:12]


def _add_train(audience: typer.Typer) -> None:
    @audience.command(epilog="[dim]$ repertory audience train judgments/ --out judge.json[/dim]")
    def train(
        folder: Annotated[
            Path,
            typer.Argument(
                help="arguments.csv, strict_labels.csv and votes.csv, laid out like UKPConvArg1.",
                show_default=False,
            ),
        ],
        out: Annotated[Path, typer.Option("--out", "-o", help="The judge's file.")] = Path(
            "judge.json"
        ),
        meaning: Annotated[
            bool, typer.Option("--meaning/--no-meaning", help="Learn meaning as well.")
        ] = True,
    ) -> None:
        """Train a deterministic judge on your own labelled pairs, and say how far to trust it."""
        import anyio

        from .teaching import teach

        for line in anyio.run(teach, folder, out, meaning):
            typer.echo(line)
