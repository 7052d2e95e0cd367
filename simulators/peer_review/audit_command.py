"""`repertory review audit`: the yardstick turned on reviews that people wrote."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from .audit import Audit


def add_audit(review: typer.Typer) -> None:
    """Add the command `audit` to the commands of `review`."""

    @review.command()
    def audit(
        reviews: Annotated[
            Path, typer.Argument(help="JSON Lines of {id, review}.", metavar="REVIEWS.jsonl")
        ],
        as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    ) -> None:
        """Audit reviews: which of their claims are supported, and which name a place of the paper."""
        from .audit import audit_rows, read_reviews

        rows, skipped = read_reviews(reviews)
        for line in skipped:
            typer.echo(line, err=True)
        found = audit_rows(rows, skipped=skipped)
        typer.echo(found.model_dump_json(indent=2) if as_json else _told(found))


def _told(found: "Audit") -> str:
    """The corpus in lines, and the reviews from the least substantiated on."""
    corpus = found.corpus
    lines = [
        f"{corpus.reviews} reviews, {corpus.claims} claims; {corpus.with_claims} reviews make claims",
        f"substantiation       {_shown(corpus.substantiation)}  (expected share of supported claims)",
        f"supported claims     {_shown(corpus.supported_share)}",
        f"  negative           {_shown(corpus.negative_supported_share)}",
        f"  positive           {_shown(corpus.positive_supported_share)}",
        f"name a place         {_shown(corpus.anchor_fraction)}  (of claims)",
        f"Study 1 compliance   {_shown(corpus.study1_compliance)}  (compatibility only)",
        f"substantiation and length, ρ  {_shown(corpus.length)}",
        "",
        "review               words  claims  supported  substantiation",
    ]
    for each in sorted(found.reviews, key=lambda r: (r.substantiation is None, r.substantiation)):
        score = "–" if each.substantiation is None else f"{each.substantiation:.2f}"
        lines.append(
            f"{each.id[:20]:20} {each.words:6} {each.claims:7} {each.supported:10} {score:>15}"
        )
    return "\n".join(lines)


def _shown(estimate: dict[str, Any]) -> str:
    value, low, high = estimate["value"], estimate["low"], estimate["high"]
    if value is None:
        return "cannot tell"
    return f"{value:.2f}" if low is None else f"{value:.2f} [{low:.2f}, {high:.2f}]"
