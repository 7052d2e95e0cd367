"""The peer-review simulator's branch of the error tree.

SimulatorError
├── SimulatorInputError
│   ├── ManuscriptUnreadableError            a file cannot be read as a manuscript
│   └── ProfileInvalidError                  a venue profile is wrong
└── ExportRefusedError (PermissionError)     a guard does not hold
"""

from typing import ClassVar

from repertory.simulators.errors import SimulatorError, SimulatorInputError


class ManuscriptUnreadableError(SimulatorInputError):
    """The file is no manuscript that can be read; `facts['name']` is its name."""

    reason: ClassVar[str] = "MANUSCRIPT_UNREADABLE"


class ProfileInvalidError(SimulatorInputError):
    """A venue profile is wrong; the sentence names its file, its key and what may stand there."""

    reason: ClassVar[str] = "PROFILE_INVALID"


class ExportRefusedError(SimulatorError, PermissionError):
    """A report that fails a guard is not exported; `facts['guards']` names them."""

    reason: ClassVar[str] = "EXPORT_REFUSED"
