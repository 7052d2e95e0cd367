"""Times as logs write them: epoch seconds to nanoseconds, and ISO 8601 with or without a zone."""

from datetime import UTC, datetime

_OTHER_FORMS = (
    "%Y/%m/%d %H:%M:%S.%f",
    "%Y/%m/%d %H:%M:%S",
    "%d/%m/%Y %H:%M:%S",
    "%d-%m-%Y %H:%M:%S",
    "%d.%m.%Y %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%d/%m/%Y %H:%M",
)
# An epoch number larger than this is in milliseconds, micro- or nanoseconds: 5 * 10^10 s is 3554.
_LARGEST_SECONDS = 5e10


def read_time(text: str | float) -> tuple[float, float]:
    """Epoch seconds, and the seconds by which the writer's clock is ahead of UTC.

    A number counts as seconds, milli-, micro- or nanoseconds by its size. A time
    without a zone is taken as its own clock says it. (nan, 0.0) where it is no time.
    """
    if isinstance(text, str):
        text = text.strip()
        if not text.lstrip("-").replace(".", "", 1).isdigit():
            return _read_stamp(text)
    value = float(text)
    while abs(value) > _LARGEST_SECONDS:
        value /= 1000.0
    return value, 0.0


def _read_stamp(text: str) -> tuple[float, float]:
    stamp = _stamp(text)
    if stamp is None:
        return float("nan"), 0.0
    if stamp.tzinfo is None:
        return stamp.replace(tzinfo=UTC).timestamp(), 0.0
    ahead = stamp.utcoffset()
    return stamp.timestamp(), ahead.total_seconds() if ahead else 0.0


def _stamp(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    for form in _OTHER_FORMS:
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    return None
