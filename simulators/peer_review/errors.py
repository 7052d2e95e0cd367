"""The peer-review simulator's branch of the error tree.

RepertoryError
└── ReviewError
    ├── ManuscriptUnreadableError (ValueError)   a file cannot be read as a manuscript
    ├── ProfileInvalidError       (ValueError)   a venue profile is wrong
    └── ExportRefusedError        (PermissionError)  a guard does not hold
"""

from typing import ClassVar

from repertory.protocol import RepertoryError


class ReviewError(RepertoryError):
    """A manuscript could not be reviewed as it was asked."""

    reason: ClassVar[str] = "REVIEW_ERROR"


class ManuscriptUnreadableError(ReviewError, ValueError):
    """The file is no manuscript that can be read; `facts['name']` is its name."""

    reason = "MANUSCRIPT_UNREADABLE"


class ProfileInvalidError(ReviewError, ValueError):
    """A venue profile is wrong; the sentence names its file, its key and what may stand there."""

    reason = "PROFILE_INVALID"


class ExportRefusedError(ReviewError, PermissionError):
    """A report that fails a guard is not exported; `facts['guards']` names them."""

    reason = "EXPORT_REFUSED"
