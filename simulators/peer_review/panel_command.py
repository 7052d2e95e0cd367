"""`repertory review panel`: what one careless, unkind or ignorant reviewer does to decisions."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import typer

from repertory.simulators.commands import Runner
from repertory.simulators.errors import SimulatorError

PANEL = Path(__file__).with_name("panel.yaml")


def add_panel(review: typer.Typer, runner: Runner) -> None:
    """Add the command `panel` to the commands of `review`."""

    @review.command(
        epilog="[dim]$ repertory review panel reviews/*.json --change reviewer_1 --trait irresponsible[/dim]"
    )
    def panel(
        reports: Annotated[
            list[Path], typer.Argument(metavar="REPORT.json…", help="Reports of a batch.")
        ],
        change: Annotated[
            str, typer.Option("--change", help="The seat: reviewer_1, _2, _3, or chair.")
        ] = "reviewer_1",
        trait: Annotated[
            str,
            typer.Option(
                "--trait",
                help="(ir)responsible, benign, malicious, (un)knowledgeable, placebo; a chair: authoritarian, conformist, inclusive.",
            ),
        ] = "irresponsible",
        chair: Annotated[
            str, typer.Option("--chair", help="Of both committees, unless it is what changes.")
        ] = "inclusive",
        seeds: Annotated[int, typer.Option(min=1, max=500, help="Panels a manuscript.")] = 50,
        store: Annotated[
            Path, typer.Option("--store", help="The folder of the panel's journal.")
        ] = Path(".repertory"),
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    ) -> None:
        """Compare two committees that differ in one trait, on the same manuscripts and seeds."""
        from .outcome import load_report
        from .panel import case_of
        from .panel_agents import effect_from

        cases = [
            case_of(load_report(path)).model_dump(mode="json")
            for path in reports
            if not path.name.endswith(".signature.json")
        ]
        asked: dict[str, Any] = {
            "cases": cases,
            "seeds": seeds,
            "changed": change,
            "trait": trait,
            "chair": chair,
        }
        kind = sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]
        place = f"sqlite:///{(store / f'panel-{kind}.db').absolute()}"
        store.mkdir(parents=True, exist_ok=True)
        (task,) = runner.ask(PANEL, "desk", [asked], store=place)
        data = next((p.data for a in task.artifacts for p in a.parts if p.has_data), None)
        if not isinstance(data, dict):
            message = task.status.message
            raise SimulatorError(message.text if message and message.text else "the panel failed")
        if as_json:
            typer.echo(json.dumps(data, indent=2, ensure_ascii=False))
            return
        effect = effect_from(data)
        typer.echo(
            f"{effect.changed} {effect.trait}, {effect.manuscripts} manuscripts, {effect.seeds} panels each"
        )
        for name, told in (
            ("chair's score", effect.rating),
            ("spread of ratings", effect.spread),
            ("acceptance", effect.acceptance),
            ("placebo (chair's score)", effect.placebo),
        ):
            typer.echo(f"  {name:24} {_shown(told)}")
        typer.echo(f"  decisions that flipped   {effect.flipped:.1%}")


def _shown(told: dict[str, Any]) -> str:
    if told["value"] is None:
        return "cannot tell"
    if told["low"] is None:
        return f"{told['value']:+.3f}, of one manuscript: no interval"
    return f"{told['value']:+.3f} [{told['low']:+.3f}, {told['high']:+.3f}]"
