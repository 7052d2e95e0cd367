"""What commands have in common: the options that mean the same everywhere, and their examples."""

from pathlib import Path
from typing import Annotated

import typer

File = Annotated[Path, typer.Argument(metavar="FILE", help="The manifest.", show_default=False)]
Manifest = Annotated[
    Path,
    typer.Option("--manifest", "-m", envvar="REPERTORY_MANIFEST", help="The manifest."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Task = Annotated[
    str, typer.Argument(metavar="TASK", help="A task's id, or enough of it to be the only one.")
]
Within = Annotated[
    float | None, typer.Option("--within", min=0.1, help="Give up waiting after these seconds.")
]
Store = Annotated[
    str,
    typer.Option(
        "--store",
        help="Another store than the manifest's, as sqlite:///FILE or postgresql://USER@HOST/DATABASE.",
    ),
]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")]

DEFAULT_MANIFEST = Path("network.yaml")


def example(*lines: str) -> str:
    """Lines of a command's help that show it in use."""
    return "\n\n".join(f"[dim]$ {line}[/dim]" for line in lines)
