"""The revisions of the experience store's tables, one file each, run by Alembic in order.

A revision that was released is not changed: what is wrong in it is put right by the
next. How one is written is in docs/design.md, Revisions.
"""

from typing import Final

HEAD: Final = "0002"
"""The newest of them."""
