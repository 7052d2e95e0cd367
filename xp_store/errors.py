"""The store's branch of the error tree.

    RepertoryError
    └── StoreError                 the store refused; nothing was written
        ├── StoreVersionError      a newer version of Repertory wrote the store
        ├── StoreOwnedError        another process owns the store or its index
        ├── PackNotFoundError      (LookupError)
        ├── CheckError             a check could not be run (not: it failed)
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


class StoreOwnedError(StoreError):
    """Another process owns the store; `facts['pid']` says which."""

    reason = "STORE_OWNED"


class PackNotFoundError(StoreError, LookupError):
    """No pack of that id exists for this tenant."""

    reason = "PACK_NOT_FOUND"


class CheckError(StoreError):
    """A check could not be run; that says nothing about its subject."""

    reason = "CHECK_ERROR"


class WeightsError(StoreError):
    """A model's files are missing, altered, or could not be fetched."""

    reason = "WEIGHTS_ERROR"
