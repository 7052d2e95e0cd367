"""`repertory disparity` and `repertory battery`. Nothing heavy is imported before one is given."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from repertory.simulators.commands import Runner

RED_BLUE = Path(__file__).with_name("red_blue.yaml")
_LOGS = "logs"


class _Disparity(TyperGroup):
    """A group whose first word may be a file: `repertory disparity log.xes` analyzes it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in {"-h", "--help"}:
            args = [_LOGS, *args]
        return super().parse_args(ctx, args)


def add(app: typer.Typer, runner: Runner) -> None:
    """Add `disparity`, what belongs to it, and `battery`."""
    disparity = typer.Typer(
        cls=_Disparity,
        no_args_is_help=True,
        help=(
            "Tell how agents behave differently from humans: `repertory disparity LOG…` is short"
            " for `repertory disparity logs LOG…`."
        ),
        epilog="[dim]$ repertory disparity log.xes --labels humans.csv[/dim]",
    )
    app.add_typer(disparity, name="disparity", rich_help_panel="Simulate")
    _add_logs(disparity, runner)
    _add_verify(disparity)
    _add_duel(disparity, runner)
    _add_battery(app, runner)


def _add_logs(disparity: typer.Typer, runner: Runner) -> None:
    @disparity.command(
        _LOGS,
        epilog="[dim]$ repertory disparity network.yaml --labels humans.csv --out report/[/dim]",
    )
    def logs(
        given: Annotated[
            list[Path],
            typer.Argument(
                metavar="LOG…",
                help="XES, CSV, JSON lines or OTLP's JSON, also gzipped; or a network's manifest,"
                " for the spans it keeps.",
                show_default=False,
            ),
        ],
        labels: Annotated[
            Path | None,
            typer.Option("--labels", "-l", help="CSV of actor, label (human, agent) and role."),
        ] = None,
        choices: Annotated[
            Path | None, typer.Option("--choices", help="A log of choices, JSON lines.")
        ] = None,
        out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the report.")] = Path(
            "disparity"
        ),
        n_min: Annotated[
            int, typer.Option("--n-min", min=20, help="Fewer events than this tell nothing.")
        ] = 100,
        alpha: Annotated[
            float, typer.Option(min=1e-6, max=0.5, help="What chance may do, over all questions.")
        ] = 0.05,
        column: Annotated[
            list[str] | None,
            typer.Option("--column", help="actor=NAME, where a log's column has another name."),
        ] = None,
        stream: Annotated[
            bool, typer.Option("--stream", help="Constant memory; the log is in order of time.")
        ] = False,
        seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
        store: Annotated[
            str, typer.Option("--store", help="A store's URL in place of the manifest's.")
        ] = "",
        events: Annotated[
            Path | None,
            typer.Option("--events", help="Write the events as they were read, JSON lines."),
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    ) -> None:
        """Judge every actor of a log against its humans, and write the report's pages."""
        from .analysis import Settings
        from .inquiry import Inquiry, inquire

        inquiry = Inquiry(
            tuple(given),
            labels,
            choices,
            out,
            Settings(n_min=n_min, alpha=alpha, seed=seed),
            _columns(column or []),
            stream,
            store,
            events,
        )
        report = inquire(inquiry, runner)
        if as_json:
            typer.echo(json.dumps(report.as_dict(), ensure_ascii=False))
        else:
            from rich.console import Console

            from .inquiry import told

            Console(highlight=False).print(told(report, out))


def _columns(given: list[str]) -> dict[str, str]:
    from repertory.simulators.errors import SimulatorInputError

    from .readers import COLUMNS

    found = {}
    for each in given:
        name, equals, column = each.partition("=")
        if not equals or name not in COLUMNS or not column:
            raise SimulatorInputError(
                f"--column {each!r} is not NAME=COLUMN; NAME is one of {', '.join(COLUMNS)}"
            )
        found[name] = column
    return found


def _add_verify(disparity: typer.Typer) -> None:
    @disparity.command(epilog="[dim]$ repertory disparity verify disparity/evidence.json[/dim]")
    def verify(
        pack: Annotated[Path, typer.Argument(help="An evidence pack.", show_default=False)],
        log: Annotated[
            list[Path] | None, typer.Option("--log", help="A log that it must be made of.")
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    ) -> None:
        """Walk the chain of hashes of an evidence pack; ends with 1 where it is broken."""
        from .evidence import load_pack, pack_problems

        content = load_pack(pack)
        problems = pack_problems(content, log or ())
        entries = len(content.get("entries", ()))
        if as_json:
            facts = {"intact": not problems, "entries": entries, "problems": problems}
            typer.echo(json.dumps({**facts, "head": content.get("head")}))
        else:
            for problem in problems:
                typer.echo(problem)
            if not problems:
                typer.echo(f"intact: {entries} entries, head {content['head']}")
        raise typer.Exit(1 if problems else 0)


def _add_duel(disparity: typer.Typer, runner: Runner) -> None:
    @disparity.command(epilog="[dim]$ repertory disparity duel --sessions 20 --out duel/[/dim]")
    def duel(
        count: Annotated[
            int, typer.Option("--sessions", min=2, max=10_000, help="Sessions of every policy.")
        ] = 20,
        out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the page.")] = Path(
            "duel"
        ),
        manifest: Annotated[
            Path | None,
            typer.Option("--manifest", "-m", help="A network of your own, of the same agents."),
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    ) -> None:
        """Play attackers of known policies against a profiler, in a network of agents."""
        from .duel import sessions

        options: dict[str, dict[str, Any]] = {"umpire": {"out": str(out)}}
        store = "" if manifest else f"sqlite:///{out.absolute() / '.repertory' / 'duel.db'}"
        raise typer.Exit(
            runner.run(
                manifest or RED_BLUE,
                [],
                messages=sessions(count),
                options=options,
                store=store,
                as_json=as_json,
            )
        )


def _add_battery(app: typer.Typer, runner: Runner) -> None:
    @app.command(
        rich_help_panel="Simulate",
        epilog="[dim]$ repertory battery clerk --network network.yaml[/dim]",
    )
    def battery(
        agent: Annotated[str, typer.Argument(help="Who is asked.", show_default=False)],
        network: Annotated[
            Path, typer.Option("--network", "-n", help="The manifest that names it.")
        ] = Path("network.yaml"),
        problems: Annotated[
            int, typer.Option(min=2, max=2000, help="Pairs of gambles, each asked in both orders.")
        ] = 30,
        seed: Annotated[int, typer.Option(help="Of the questions.")] = 0,
        store: Annotated[
            str, typer.Option("--store", help="A store's URL in place of the manifest's.")
        ] = "",
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    ) -> None:
        """Ask an agent questions that show irrational patterns: gambles, frames, anchors, circles."""
        from repertory.agents import words_of

        from .battery import battery as questions
        from .battery import battery_result

        items = questions(problems, seed)
        tasks = runner.ask(network, agent, [item.question for item in items], store=store)
        answers = [_words(task, words_of) for task in tasks]
        found = battery_result(agent, items, answers)
        if as_json:
            typer.echo(json.dumps(found.as_dict(), ensure_ascii=False))
        else:
            for line in found.sentences():
                typer.echo(line)


def _words(task: Any, words_of: Any) -> str:
    """What a task answered: the text of its artifacts, else its last words."""
    texts = [part.text for a in task.artifacts for part in a.parts if part.text]
    if texts:
        return "\n".join(texts)
    return str(words_of(task.status.message)) if task.status.message is not None else ""
