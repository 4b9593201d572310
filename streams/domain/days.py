"""Local campaign days, through clock changes.

A day begins at `day_start` local time. Where a clock change skips that time, it begins at the
first instant after the gap; where it comes twice, at the earlier. A day with a change is one day,
of 23 or 25 hours. Source: semantics.md 2 `calendar`; fixtures 6 to 8.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
NEVER_MS = 2**63  # later than any time that occurs
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_DAY = date(1970, 1, 1).toordinal()
# Zone changes fall on quarter hours, so all instants of one quarter share a local date.
QUARTER_MS = 900_000


def instant_ms(text: str) -> int:
    """Return an RFC 3339 time in ms, rounded down.

    Raises ValueError, also for one that does not say its offset.
    """
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"time {text!r} has no offset")
    since = at - EPOCH
    return since.days * DAY_MS + since.seconds * 1_000 + since.microseconds // 1_000


class Calendar(msgspec.Struct, frozen=True):
    """A campaign's zone (IANA name) and the minute of the local day at which its days begin."""

    time_zone: str = "Asia/Shanghai"
    day_start_minute: int = 0

    def day(self, at_ms: int) -> int:
        """Return the campaign day that the instant falls in, in days since 1970-01-01."""
        day, begins_ms, ends_ms = _around(
            self.time_zone, self.day_start_minute, at_ms // QUARTER_MS
        )
        if at_ms < begins_ms:
            return day - 1
        return day if at_ms < ends_ms else day + 1

    def begins_ms(self, day: int) -> int:
        """Return the first instant of a campaign day."""
        return _begins_ms(self.time_zone, self.day_start_minute, day)

    def text(self, at_ms: int) -> str:
        """Return RFC 3339 in the campaign's zone; milliseconds only where there are any."""
        return _text(self.time_zone, at_ms)


# Formatting numbers costs more than finding their text; every output has a time in it.
_SECONDS = tuple(f":{second:02}" for second in range(60))
_MINUTES = tuple(f"{hour:02}:{minute:02}" for hour in range(25) for minute in range(60))


# One cause puts its time into several outputs, and the users of a window share its deadline.
@lru_cache(maxsize=16_384)
def _text(name: str, at_ms: int) -> str:
    date_, midnight_ms, offset = _local_date(name, at_ms // QUARTER_MS)
    since_s, ms = divmod(at_ms - midnight_ms, 1000)
    minute, second = divmod(since_s, 60)
    clock = _MINUTES[minute] + _SECONDS[second]
    return f"{date_}T{clock}.{ms:03}{offset}" if ms else f"{date_}T{clock}{offset}"


@lru_cache(maxsize=65_536)
def _local_date(name: str, quarter: int) -> tuple[str, int, str]:
    """Return the local date of a quarter hour, the instant of its midnight by its offset, that."""
    local = (EPOCH + timedelta(milliseconds=quarter * QUARTER_MS)).astimezone(_zone(name))
    since = timedelta(hours=local.hour, minutes=local.minute, seconds=local.second)
    midnight_ms = quarter * QUARTER_MS - since // timedelta(milliseconds=1)
    return local.date().isoformat(), midnight_ms, local.isoformat()[19:]


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


@lru_cache(maxsize=65_536)
def _around(name: str, start_minute: int, quarter: int) -> tuple[int, int, int]:
    local = (EPOCH + timedelta(milliseconds=quarter * QUARTER_MS)).astimezone(_zone(name))
    day = local.date().toordinal() - EPOCH_DAY
    return day, _begins_ms(name, start_minute, day), _begins_ms(name, start_minute, day + 1)


@lru_cache(maxsize=65_536)
def _begins_ms(name: str, start_minute: int, day: int) -> int:
    zone = _zone(name)
    midnight = datetime.combine(date.fromordinal(day + EPOCH_DAY), datetime.min.time())
    wanted = midnight + timedelta(minutes=start_minute)
    instant = wanted.replace(tzinfo=zone).astimezone(UTC)  # fold=0: the earlier of two passes
    if instant.astimezone(zone).replace(tzinfo=None) == wanted:
        return _ms(instant)
    # The clock skips `wanted`: the gap ends where the offset changes, somewhere in the day around.
    low, high = _ms(instant) - DAY_MS, _ms(instant)
    before = _offset(zone, low)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, middle) == before:
            low = middle
        else:
            high = middle
    return high


def _offset(zone: ZoneInfo, at_ms: int) -> timedelta | None:
    return (EPOCH + timedelta(milliseconds=at_ms)).astimezone(zone).utcoffset()


def _ms(instant: datetime) -> int:
    return (instant - EPOCH) // timedelta(milliseconds=1)
