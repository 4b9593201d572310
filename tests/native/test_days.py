"""The table of days and shifts of the compiled path says what the calendar says, or nothing."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from streams import native
from streams.domain.days import HOUR_MS
from streams.native.plan import plan_of
from tests import builders as b
from tests.given import registry
from tests.native.beside import needs_native

pytestmark = needs_native
ZONES = (
    "UTC", "Asia/Shanghai", "America/New_York", "Europe/London", "Australia/Lord_Howe",
    "Asia/Kathmandu", "Pacific/Apia", "Africa/Casablanca", "America/St_Johns", "Asia/Gaza",
    "Pacific/Kiritimati", "America/Sao_Paulo",
)  # fmt: skip


def instant(year: int) -> int:
    return int(datetime(year, 6, 1, tzinfo=UTC).timestamp()) * 1000


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("day_start", ["00:00", "02:30", "23:59"])
@pytest.mark.parametrize("year", [2011, 2026])
def test_every_hour_of_three_years(zone, day_start, year):
    definition = b.campaign(calendar={"time_zone": zone, "day_start": day_start})
    campaigns = registry(definition)
    calendar = next(iter(campaigns)).calendar
    module, _ = native.load()
    plan = plan_of(module, campaigns, instant(year))
    known = 0
    for at_ms in range(instant(year - 1), instant(year + 2), HOUR_MS * 5 // 2 + 1):
        text, day, begins_ms = plan.time(0, at_ms)
        if text is not None:
            known += 1
            assert text == calendar.text(at_ms)
        if day is not None:
            assert day == calendar.day(at_ms)
            assert begins_ms == calendar.begins_ms(day)
    whole = zone != "Pacific/Apia" or year != 2011  # it had no 30 December 2011
    assert not whole or known > 10_000


def test_outside_of_its_years_it_says_nothing():
    module, _ = native.load()
    plan = plan_of(module, registry(b.campaign()), instant(2026))
    for at_ms in (-(2**62), -1, 0, instant(2020), instant(2035), 2**62):
        assert plan.time(0, at_ms) == (None, None, None)
