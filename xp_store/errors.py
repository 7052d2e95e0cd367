"""The store's branch of the error tree.

RepertoryError
└── StoreError                 the store refused; nothing was written
    ├── StoreVersionError      a newer version of Repertory wrote the store
    ├── StoreFullError         retryable      its disk is full or fails; it takes writes again by itself
    ├── StoreAwayError         retryable      its server does not answer, or broke off
    ├── StoreOwnedError        another process owns the store or its index
    ├── PackNotFoundError      (LookupError)
    ├── DraftInvalidError      (ValueError)   too large, or citing what it does not hold
    ├── RightsError            (PermissionError)  its rights do not allow this
    ├── ChangeError            a change to memory cannot be made as asked
    ├── PackForgottenError     it rests on a pack that was forgotten
    ├── BundleError            (ValueError)   no bundle of packs, too large, or altered
    ├── CheckError             a check could not be run (not: it failed)
    ├── IndexUnavailableError  retryable      the vector index is broken; recall goes on in SQL
    └── WeightsError           a model's files are missing or altered
"""

from typing import ClassVar

from repertory.protocol import RepertoryError


class StoreError(RepertoryError):
    """The store refused; nothing of this unit was written."""

    reason: ClassVar[str] = "STORE_ERROR"


class StoreVersionError(StoreError):
    """A newer version of Repertory wrote the store."""

    reason = "STORE_VERSION"


class StoreFullError(StoreError):
    """The store's disk is full, fails, or may only be read; nothing was written.

    When there is room again, writes go on without a restart.
    """

    retryable = True
    reason = "STORE_FULL"


class StoreAwayError(StoreError):
    """The store's server cannot be reached, or broke off: whether a write was kept may be unknown.

    The same message sent again is the same task, so nothing is lost by trying again.
    """

    retryable = True
    reason = "STORE_AWAY"


class StoreOwnedError(StoreError):
    """Another process owns the store; `facts['pid']` says which."""

    reason = "STORE_OWNED"


class PackNotFoundError(StoreError, LookupError):
    """No pack of that id exists for this tenant."""

    reason = "PACK_NOT_FOUND"


class CheckError(StoreError):
    """A check could not be run; that says nothing about its subject."""

    reason = "CHECK_ERROR"


class DraftInvalidError(StoreError, ValueError):
    """No pack can be made of this draft: too large, or citing what it does not hold."""

    reason = "DRAFT_INVALID"


class RightsError(StoreError, PermissionError):
    """The rights of a pack do not allow this, or are none that are known."""

    reason = "RIGHTS_REFUSED"


class BundleError(StoreError, ValueError):
    """What was to be imported is no bundle of packs, too large, or altered; nothing was imported."""

    reason = "BUNDLE_INVALID"


class ChangeError(StoreError):
    """A change to memory cannot be made as it was asked for."""

    reason = "CHANGE_REFUSED"


class PackForgottenError(StoreError):
    """What was to be written rests on a pack that was forgotten meanwhile."""

    reason = "PACK_FORGOTTEN"


class IndexUnavailableError(StoreError):
    """The vector index cannot be used now; recall goes on in SQL alone."""

    retryable = True
    reason = "INDEX_UNAVAILABLE"


class WeightsError(StoreError):
    """A model's files are missing, altered, or could not be fetched."""

    reason = "WEIGHTS_ERROR"
