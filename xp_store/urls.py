"""What a store's URL says, without opening anything or loading a driver."""

from pathlib import Path
from urllib.parse import urlsplit

from .errors import StoreError

SQLITE = "sqlite:///"
_POSTGRES = ("postgresql", "postgres", "postgresql+psycopg", "postgresql+asyncpg")


def is_postgres(url: str) -> bool:
    """Whether the URL names a PostgreSQL database."""
    return url.split("://", 1)[0] in _POSTGRES


def sqlite_path(url: str) -> str:
    """The file that a `sqlite:///FILE` URL names.

    Raises:
        StoreError: The URL names another engine.
    """
    if not url.startswith(SQLITE):
        scheme = url.split(":", 1)[0]
        if is_postgres(url):
            raise StoreError(
                f"the store {shown_url(url)} is a server's, and this needs one in a file: use"
                " sqlite:///FILE",
                url=scheme,
            )
        raise unknown_engine(url)
    return url[len(SQLITE) :]


def shown_url(url: str) -> str:
    """The URL as it may be shown: without a password and without parameters."""
    if not is_postgres(url):
        return url.rsplit("@", maxsplit=1)[-1]
    try:
        parts = urlsplit(url)
        place = f"{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}"
    except ValueError:
        return "postgresql://…"
    user = f"{parts.username}@" if parts.username else ""
    return f"postgresql://{user}{place}{parts.path}"


def unknown_engine(url: str) -> StoreError:
    """What is said of a URL of another engine, or of none."""
    scheme = url.split(":", 1)[0]
    return StoreError(
        f"store url {shown_url(url)!r}: engine {scheme!r} is not supported; use sqlite:///FILE or"
        " postgresql://USER@HOST/DATABASE",
        url=scheme,
    )


def file_of(url: str) -> Path | None:
    """The file of a store, None for memory and for a server."""
    if is_postgres(url):
        return None
    path = sqlite_path(url)
    return None if path == ":memory:" else Path(path)


def conninfo_of(url: str) -> str:
    """The URL as libpq reads it."""
    return "postgresql://" + url.split("://", 1)[1]
