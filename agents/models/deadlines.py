"""The one sentence of a deadline that passed before a model answered."""

from repertory.protocol import DeadlineExceededError

from .ports import ModelContext


def out_of_time(model: str, doing: str = "before it answered") -> DeadlineExceededError:
    """The error of a model whose caller's deadline passed."""
    return DeadlineExceededError(
        f"the deadline of the call to model {model!r} passed {doing}; give the call more time, or"
        " ask for fewer tokens",
        model=model,
    )


def require_time(model: str, context: ModelContext) -> None:
    """Refuse a question whose deadline has passed already.

    Raises:
        DeadlineExceededError: It has.
    """
    if context.seconds_left() == 0.0:
        raise out_of_time(model, "before it was asked")
