"""How far a backfill is: a bar a partition on a terminal, else one plain line every ten seconds."""

from __future__ import annotations

import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from streams.backfill.runner import Look

LINE_EVERY_S = 10.0
WINDOW_S = 15.0
"""A rate is that of so long: long enough for units of work, short enough for an honest ETA."""
BAR_WIDTH = 24


class Rate:
    """Something per second over the last WINDOW_S."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, now_s: float, count: int) -> None:
        self._seen.append((now_s, count))
        while len(self._seen) > 2 and now_s - self._seen[0][0] > WINDOW_S:  # noqa: PLR2004 - two ends
            self._seen.popleft()

    def per_s(self) -> float:
        if not self._seen:
            return 0.0
        (since_s, before), (now_s, count) = self._seen[0], self._seen[-1]
        return (count - before) / (now_s - since_s) if now_s > since_s else 0.0


class Progress:
    """Shows looks; use it in a ``with`` block, so that the terminal is given back."""

    def __init__(
        self,
        offsets: Mapping[int, int],
        say: Callable[[str], None],
        *,
        lively: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``offsets``: of each partition, how many there are to go through."""
        self._of, self._say, self._clock = dict(offsets), say, clock
        self._looks: dict[int, Look] = {}
        self._rates = {p: Rate() for p in offsets}
        self._records, self._offsets = Rate(), Rate()
        self._line_s = clock()
        self._live: Live | None = None
        if lively:
            console = Console(stderr=True)
            self._live = Live(console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, look: Look) -> None:
        """Take note of one partition; show all, if it is time."""
        now_s = self._clock()
        self._looks[look.partition] = look
        self._rates[look.partition].note(now_s, look.account.records)
        self._records.note(now_s, sum(one.account.records for one in self._looks.values()))
        self._offsets.note(now_s, self._at())
        if self._live:
            self._live.update(self._drawn())
        elif now_s - self._line_s >= LINE_EVERY_S:
            self._line_s = now_s
            self._say(self.line())

    def line(self) -> str:
        """Return all in one line."""
        total = max(1, sum(self._of.values()))
        records = sum(one.account.records for one in self._looks.values())
        said = sum(x.count for one in self._looks.values() for x in one.account.said.values())
        under_way = ", ".join(
            f"{p}: {100 * one.at // max(1, one.of)} %"
            for p, one in sorted(self._looks.items())
            if one.at < one.of
        )
        return (
            f"{100 * self._at() // total} %: {records:,} records, {self._records.per_s():,.0f}/s, "
            f"at {self._event_clock()}, {said:,} outputs, {self._eta()} left; "
            f"{sum(one.at >= one.of for one in self._looks.values())} of {len(self._of)} partitions"
            + (f"; under way {under_way}" if under_way else "")
        )

    def _at(self) -> int:
        return sum(look.at for look in self._looks.values())

    def _event_clock(self) -> str:
        """The newest record folded of the partition that is furthest behind."""
        behind = [look for look in self._looks.values() if look.at < look.of]
        looks = behind or list(self._looks.values())
        return _day(min((look.account.clock_ms for look in looks), default=0))

    def _eta(self) -> str:
        per_s = self._offsets.per_s()
        left = sum(self._of.values()) - self._at()
        return _span(left / per_s) if per_s > 0 else "?"

    def _drawn(self) -> Group:
        table = Table.grid(padding=(0, 2))
        for p, look in sorted(self._looks.items()):
            table.add_row(
                f"partition {p}",
                ProgressBar(total=max(look.of, 1), completed=look.at, width=BAR_WIDTH),
                f"{look.account.records:,} records",
                f"{self._rates[p].per_s():,.0f}/s" if look.at < look.of else "done",
                f"at {_day(look.account.clock_ms)}",
            )
        return Group(table, Text(self.line()))


def _day(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M") if ms else "no event"


def _span(seconds: float) -> str:
    minutes, whole = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {whole:02} s"
