"""How far the run is: redrawn on a terminal, else one plain line every ten seconds."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

LINE_EVERY_S = 10.0
REDRAWS_A_SECOND = 4
DOING_WIDTH, BAR_WIDTH = 20, 24
SMOOTHING_S = 3.0  # a rate is shown over about so long


@dataclass(frozen=True)
class Look:
    """One look at the run."""

    doing: str
    total: int = 0  # records that will be sent in all
    sent: int = 0
    folded: int = 0
    clock_ms: int | None = None  # the newest event time folded, about
    rewards: int = 0  # issued less revoked, so far
    duplicates: int = 0
    dead: int = 0

    @property
    def lag(self) -> int:
        return max(self.sent - self.folded, 0)

    @property
    def clock(self) -> str:
        """The event-time clock, `2026-03-14`, or nothing before the first event."""
        if self.clock_ms is None:
            return ""
        return datetime.fromtimestamp(self.clock_ms / 1000, UTC).strftime("%Y-%m-%d")


class Progress:
    """Shows looks; use it in a ``with`` block, so that the terminal is given back."""

    def __init__(self, say: Callable[[str], None], *, lively: bool) -> None:
        self._say = say
        self._live: Live | None = None
        if lively:
            console = Console(stderr=True)
            self._live = Live(console=console, refresh_per_second=REDRAWS_A_SECOND, transient=True)
        self._last_line_s = time.monotonic()
        self._look = Look("")
        self._rate = 0.0
        self._last: tuple[float, int] = (time.monotonic(), 0)

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def say(self, text: str) -> None:
        """Print a line that stays."""
        if self._live:
            self._live.console.print(text, highlight=False, markup=False)
        else:
            self._say(text)

    def show(self, look: Look) -> None:
        """Take note; show it if it is time."""
        now_s = time.monotonic()
        self._look = look
        self._note_rate(now_s, look.folded)
        if self._live:
            self._live.update(self._drawn(look))
        elif now_s - self._last_line_s >= LINE_EVERY_S:
            self._last_line_s = now_s
            self._say(self._line(look))

    def doing(self, doing: str) -> None:
        """Show the last look once more, under another heading."""
        self._last = (time.monotonic(), self._look.folded)  # the rate stays what it was
        self.show(replace(self._look, doing=doing))

    def _note_rate(self, now_s: float, folded: int) -> None:
        before_s, before = self._last
        if now_s - before_s < 1 / REDRAWS_A_SECOND:
            return
        self._last = (now_s, folded)
        share = min((now_s - before_s) / SMOOTHING_S, 1.0)
        self._rate += share * ((folded - before) / (now_s - before_s) - self._rate)

    def _line(self, look: Look) -> str:
        at = f"at {look.clock}, " if look.clock else ""
        return (
            f"{look.doing}: {look.folded:,} of {look.total:,} records, {self._rate:,.0f}/s, {at}"
            f"{look.rewards:,} rewards, {look.duplicates:,} duplicates, {look.dead:,} dead letters,"
            f" lag {look.lag:,}"
        )

    def _drawn(self, look: Look) -> Group:
        bar = Table.grid(padding=(0, 2))
        bar.add_row(
            f"{look.doing:<{DOING_WIDTH}}",
            ProgressBar(total=max(look.total, 1), completed=look.folded, width=BAR_WIDTH),
            f"{look.folded:,} of {look.total:,} records",
        )
        at = f"at {look.clock}   " if look.clock else ""
        return Group(
            bar,
            Text(
                f"{at}{self._rate:,.0f}/s   {look.rewards:,} rewards   lag {look.lag:,}"
                f"   {look.duplicates:,} duplicates   {look.dead:,} dead letters"
            ),
        )
