"""`repertory review`: the simulator's commands. Nothing heavy is imported before one is given."""

from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from repertory.simulators.commands import Runner
from repertory.simulators.errors import SimulatorInputError

from .audit_command import add_audit
from .panel_command import add_panel

MANIFEST = Path(__file__).with_name("network.yaml")
_FILES = "files"
_PROFILED = ("area_chair", "methods_reviewer", "evidence_reviewer", "presentation_reviewer")


class _Review(TyperGroup):
    """A group whose first word may be a file: `repertory review paper.pdf` reviews it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in {"-h", "--help"}:
            args = [_FILES, *args]
        return super().parse_args(ctx, args)


def add(app: typer.Typer, runner: Runner) -> None:
    """Add `review` and what belongs to it."""
    review = typer.Typer(
        cls=_Review,
        no_args_is_help=True,
        help=(
            "Review manuscripts: `repertory review FILE…` is short for `repertory review files FILE…`."
        ),
        epilog="[dim]$ repertory review paper.pdf --profile iclr[/dim]",
    )
    app.add_typer(review, name="review", rich_help_panel="Simulate")
    _add_files(review, runner)
    _add_repeat(review, runner)
    _add_sign(review)
    _add_profiles(review)
    _add_calibrate(review)
    add_audit(review)
    add_panel(review, runner)


def _add_files(review: typer.Typer, runner: Runner) -> None:
    @review.command(
        _FILES, epilog="[dim]$ repertory review submissions/ --profile neurips --out reviews/[/dim]"
    )
    def files(
        given: Annotated[
            list[Path],
            typer.Argument(
                metavar="FILE…",
                help="PDF, Markdown, LaTeX or text; or folders of them.",
                show_default=False,
            ),
        ],
        profile: Annotated[
            str,
            typer.Option(
                "--profile", "-p", help="The venue: neurips, iclr, acl, journal, or a YAML file."
            ),
        ] = "journal",
        out: Annotated[
            Path, typer.Option("--out", "-o", help="The folder for the reports.")
        ] = Path("reviews"),
        reviews: Annotated[
            Path | None,
            typer.Option(
                "--reviews",
                help="Human reviews to compare with: JSON Lines of {manuscript, review, rating, decision}.",
            ),
        ] = None,
        pages: Annotated[int, typer.Option(min=1, max=2000, help="Refuse what is longer.")] = 200,
        seed: Annotated[int, typer.Option(help="Told in the reports.")] = 0,
        manifest: Annotated[
            Path | None,
            typer.Option(
                "--manifest", "-m", help="A network of your own, with agents of the same names."
            ),
        ] = None,
        again: Annotated[bool, typer.Option("--again", help="Give anew what had failed.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    ) -> None:
        """Review manuscripts by a network of agents; the same command goes on after a kill.

        Each report is JSON and pages in the folder of --out. Nothing leaves this machine.
        """
        from .profiles import load_profile

        if reviews is not None and not reviews.is_file():
            raise SimulatorInputError(f"{reviews}: there is no such file of human reviews")
        venue = load_profile(profile)
        named = (
            profile
            if profile.lower() == profile and not Path(profile).suffix
            else str(Path(profile).absolute())
        )
        options: dict[str, dict[str, Any]] = {
            "desk": {"out": str(out), "humans": str(reviews or "")},
            "reader": {"pages": pages},
            "area_chair": {"profile": named, "seed": seed},
        }
        for name in ("methods_reviewer", "evidence_reviewer", "presentation_reviewer"):
            options[name] = {"profile": named, "seed": seed}
        # Another profile is other work: its tasks are kept apart, so that none is answered by an old one.
        kind = sha256(f"{venue.digest()} {pages} {seed} {_version()}".encode()).hexdigest()[:12]
        store = "" if manifest else f"sqlite:///{out.absolute() / '.repertory' / f'{kind}.db'}"
        raise typer.Exit(
            runner.run(
                manifest or MANIFEST,
                given,
                options=options,
                store=store,
                again=again,
                as_json=as_json,
            )
        )


def _version() -> str:
    from importlib.metadata import version

    return version("repertory")


def _add_repeat(review: typer.Typer, runner: Runner) -> None:
    @review.command(epilog="[dim]$ repertory review repeat paper.pdf --times 5[/dim]")
    def repeat(
        file: Annotated[Path, typer.Argument(help="A manuscript.", show_default=False)],
        times: Annotated[int, typer.Option("--times", min=2, max=50, help="How often.")] = 3,
        profile: Annotated[str, typer.Option("--profile", "-p", help="The venue.")] = "journal",
        out: Annotated[
            Path, typer.Option("--out", "-o", help="The folder that keeps the work.")
        ] = Path("reviews"),
        manifest: Annotated[
            Path | None, typer.Option("--manifest", "-m", help="A network of your own.")
        ] = None,
    ) -> None:
        """Review one manuscript again and again, and say how far the reports lie apart."""
        from repertory.protocol import Message, Part, Role, new_id
        from repertory.simulators.errors import SimulatorInputError

        from .agents import report_of
        from .profiles import load_profile
        from .spread import spread_of

        try:
            content = file.read_bytes()
        except OSError as error:
            raise SimulatorInputError(f"{file}: it cannot be read: {error.strerror}") from None
        load_profile(profile)
        options: dict[str, dict[str, Any]] = {name: {"profile": profile} for name in _PROFILED}
        parts = (Part(raw=content, filename=file.name, media_type="application/octet-stream"),)
        messages = [Message(message_id=new_id(), role=Role.USER, parts=parts) for _ in range(times)]
        store = "" if manifest else f"sqlite:///{out.absolute() / '.repertory' / 'repeat.db'}"
        tasks = runner.ask(manifest or MANIFEST, "desk", messages, options=options, store=store)
        reports = [report for task in tasks if (report := report_of(task)) is not None]
        if len(reports) < times:
            message = tasks[0].status.message
            typer.echo(message.text if message is not None else "no report was made", err=True)
            raise typer.Exit(1)
        digests = len({report.digest() for report in reports})
        same = "all the same bytes" if digests == 1 else f"{digests} different reports"
        typer.echo(f"{file.name}: {spread_of(reports)}; {same}")


def _add_sign(review: typer.Typer) -> None:
    @review.command(
        epilog="[dim]$ repertory review sign reviews/paper.pdf-1a2b3c4d.json --name 'J. Roe' --decision revise[/dim]"
    )
    def sign(
        report: Annotated[Path, typer.Argument(help="A report's JSON.", show_default=False)],
        name: Annotated[str, typer.Option("--name", help="Who takes the decision.")],
        decision: Annotated[str, typer.Option("--decision", help="accept, revise or reject.")],
    ) -> None:
        """Take the decision as a named person: a signature is laid beside the report."""
        from .batch import show_signature
        from .signing import sign_report

        signature = sign_report(report, name, decision)
        typer.echo(f"signed: {signature}, shown on {show_signature(report)}")


def _add_profiles(review: typer.Typer) -> None:
    @review.command()
    def profiles(
        name: Annotated[
            str, typer.Argument(help="One to print, or a file of your own to check.")
        ] = "",
    ) -> None:
        """List the venue profiles, print one, or check one of your own."""
        from .profiles import load_profile, shipped

        known = shipped()
        if not name:
            for each in known:
                typer.echo(each)
            return
        checked = load_profile(name)
        if name.lower() in known:
            typer.echo(known[name.lower()], nl=False)
        else:
            typer.echo(f"{name}: a profile of {checked.name}, {checked.digest()[:12]}")


def _add_calibrate(review: typer.Typer) -> None:
    @review.command(
        epilog="[dim]$ repertory review calibrate reviews/ --labels decisions.csv[/dim]"
    )
    def calibrate(
        folder: Annotated[
            Path, typer.Argument(help="The folder with reports.", show_default=False)
        ],
        labels: Annotated[
            Path, typer.Option("--labels", help="CSV: name,decision (accept or reject).")
        ],
    ) -> None:
        """Fit the thresholds of a profile to decisions that people took."""
        from .calibration import calibrate_folder

        typer.echo(calibrate_folder(folder, labels), nl=False)
