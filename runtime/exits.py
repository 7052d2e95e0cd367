"""What the exit status of the command line means.

0  the work is done
1  some of the work failed or was refused by an error
2  the command or the manifest is wrong; nothing was started
3  the work waits for a person: `repertory tasks --waiting`, then `repertory answer`
4  something around it is missing: a model, weights, a tool server, a port, the store
130  interrupted; what was accepted is in the journal and goes on at the next start
"""

from collections.abc import Iterator
from enum import IntEnum

from repertory.agents import (
    AgentNotFoundError,
    ModelUnavailableError,
    ToolNotFoundError,
    ToolServerError,
)
from repertory.protocol import LinkError, RepertoryError, TaskNotFoundError
from repertory.xp_store import BundleError, PackNotFoundError, RightsError, StoreError

from .errors import InputError, KindError, ManifestError, PolicyError, PortInUseError


class Exit(IntEnum):
    """The exit statuses of every command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    WAITING = 3
    ENVIRONMENT = 4
    INTERRUPTED = 130


# The first that fits decides, so narrower classes come first.
_EXIT_OF: tuple[tuple[type[RepertoryError], Exit], ...] = (
    (ManifestError, Exit.USAGE),
    (KindError, Exit.USAGE),
    (PolicyError, Exit.USAGE),
    (InputError, Exit.USAGE),
    (AgentNotFoundError, Exit.USAGE),
    (ToolNotFoundError, Exit.USAGE),
    (TaskNotFoundError, Exit.USAGE),
    (PackNotFoundError, Exit.USAGE),
    (BundleError, Exit.USAGE),
    (RightsError, Exit.USAGE),
    (PortInUseError, Exit.ENVIRONMENT),
    (StoreError, Exit.ENVIRONMENT),
    (ModelUnavailableError, Exit.ENVIRONMENT),
    (ToolServerError, Exit.ENVIRONMENT),
    (LinkError, Exit.ENVIRONMENT),
)


def exit_of(error: BaseException) -> Exit:
    """The exit status for an error that ended a command."""
    for kind, status in _EXIT_OF:
        if isinstance(error, kind):
            return status
    # What a command was given is wrong, as errors of commands that others added say it.
    wrong = isinstance(error, RepertoryError) and isinstance(error, ValueError)
    return Exit.USAGE if wrong else Exit.FAILED


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors inside a group of errors, or the error itself."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


def explain(error: BaseException) -> tuple[Exit, str]:
    """What to exit with after `error`, and what to tell of it: a sentence, never a traceback."""
    found = list(leaves(error))
    if any(isinstance(each, KeyboardInterrupt) for each in found):
        return Exit.INTERRUPTED, ""
    strange = [each for each in found if not isinstance(each, RepertoryError)]
    if not strange:
        return max(exit_of(each) for each in found), "\n".join(dict.fromkeys(map(str, found)))
    told = " ".join(str(strange[0]).split())[:300]
    sentence = (
        f"repertory met an error of its own: {type(strange[0]).__name__}: {told}. What was "
        "accepted is in the journal. Please report it with the output of 'repertory --debug ...'."
    )
    return Exit.FAILED, sentence
