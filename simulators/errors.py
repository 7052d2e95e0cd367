"""The simulators' branch of the error tree.

RepertoryError
└── SimulatorError                        a simulation could not be made or told
    └── SimulatorInputError (ValueError)  what it was given is not what it takes
"""

from typing import ClassVar

from repertory.protocol import RepertoryError


class SimulatorError(RepertoryError):
    """A simulation could not be made, or its result may not be told."""

    reason: ClassVar[str] = "SIMULATOR_ERROR"


class SimulatorInputError(SimulatorError, ValueError):
    """What a simulator was given is not what it takes; the sentence says file, key and remedy."""

    reason: ClassVar[str] = "SIMULATOR_INPUT_INVALID"
