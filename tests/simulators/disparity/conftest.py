from collections.abc import Callable

import pytest
import typer
from typer.testing import CliRunner, Result

from repertory.runtime.runner import NetworkRunner
from repertory.simulators.disparity.command import add

Command = Callable[..., Result]


@pytest.fixture
def command() -> Command:
    """The simulator's commands over the real runtime, as a function of their words."""
    app = typer.Typer()
    add(app, NetworkRunner())

    def invoke(*words: object) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words])

    return invoke
