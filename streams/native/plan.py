"""What the compiled short path must know: which campaigns are plain, their days, our layouts.

A campaign is plain when every field that `fold.c` does not read has its default, so a field added
later makes the campaigns that use it Python's without a word said here. The same for rows: fields
behind those that `row.c` knows are written with their defaults and must hold them. But a struct
whose known fields have changed turns the extension off, loudly (`layout_problems`).
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from streams.domain import days, events, facts, state
from streams.domain.announce import given
from streams.domain.campaign import Campaign
from streams.domain.days import DAY_MS, QUARTER_MS, Calendar
from streams.domain.fold import MAX_FACTS_BYTES
from streams.feed.ports import Outgoing, Record
from streams.wire import orders, outputs, rows
from streams.wire.envelope import EARLIEST_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from streams.domain.campaign import Right
    from streams.domain.registry import Campaigns

KNOWN: dict[Any, tuple[str, ...]] = {
    rows._Row: ("version", "newest", "facts", "seen", "tasks", "ledger", "owed_minor"),  # noqa: SLF001
    state.Task: (
        "task_id", "campaign_id", "campaign_version", "round", "begun_at_ms", "start_ms", "end_ms",
        "trigger_order_id", "start_order_id", "closed_ms", "closed_order_id", "counted",
        "completed_at_ms", "last_day", "last_day_count", "peak", "rev", "variant",
    ),
    state.Entry: (
        "reward_id", "task_id", "campaign_id", "campaign_version", "round", "step", "kind",
        "right_id", "type", "currency", "value", "seq", "state", "offset", "owed", "set_off",
    ),
    events.OrderReported: (
        "user_id", "occurred_at_ms", "recorded_at_ms", "order_id", "version", "status", "currency",
        "goods_minor", "consumption_minor", "lines", "discounts", "channel", "store_id",
        "parent_order_id",
    ),
}  # fmt: skip
"""The fields that row.c reads and writes, by position; what follows them has a default."""

INERT: dict[Any, tuple[str, ...]] = {
    rows._Row: (  # noqa: SLF001
        "asks", "asks_ms", "results", "early", "ledger_ms", "pins", "notices", "noticed_ms", "gone",
        "compact_ms", "past_ms", "frozen",
    ),
    state.Entry: ("due", "why", "held", "back", "debt", "written_off", "since_ms", "frozen"),
    state.Task: (
        "pending", "lacks", "accumulated_minor", "saved_minor", "ended_ms", "ended", "paid_step",
        "held", "passed_ms", "noticed_ms", "expired", "closed", "chances",
        "frozen",
    ),
    events.OrderReported: ("entry", "context"),
}  # fmt: skip
"""Fields behind those: with their defaults they say nothing, and fold.c keeps them so. Name one
here only when that is true of the rules too; until then the extension stays off."""

WHOLE: dict[Any, tuple[str, ...]] = {
    state.Key: ("at_ms", "rank", "id", "version"),
    state.Packed: ("count", "data"),
    events.Line: ("line_id", "quantity", "unit_minor", "category"),
    events.Discount: ("amount_minor", "threshold_minor"),
    orders.Order: (
        "v", "user_id", "occurred_at", "order_id", "version", "currency", "goods_minor",
        "consumption_minor", "lines", "discounts", "shipping_minor", "channel", "store_id",
        "parent_order_id", "entry", "context",
    ),
    orders.OrderLine: ("line_id", "sku", "quantity", "unit_minor", "category"),
    orders.OrderDiscount: ("kind", "amount_minor", "threshold_minor"),
}  # fmt: skip
"""Structs that must be just this."""

TUPLES: dict[Any, tuple[str, ...]] = {
    Record: ("topic", "partition", "offset", "key", "value", "headers", "recorded_at_ms"),
    Outgoing: ("topic", "key", "value", "headers", "partition"),
}

AMONG: dict[Any, tuple[str, ...]] = {
    rows._Row: ("results", "compact_ms", "past_ms", "frozen"),  # noqa: SLF001
    state.Task: ("accumulated_minor", "passed_ms", "expired", "closed", "frozen"),
}
"""Those of them that row.c knows all the same; the others stand in the gaps between."""

GAPS = 6  # plan.h, GAPS_MAX

READ = frozenset({
    "campaign_id", "version", "effective_from_ms", "currency", "features", "calendar", "auto",
    "days", "first_day", "max_cycles", "target_orders", "on", "min_amount_minor", "basis",
    "daily_cap", "final_rewards", "step_rewards", "rounds_max", "cool_down_days", "opens_at_ms",
    "closes_at_ms", "grace_ms", "clawback_ms",
})  # fmt: skip
"""Fields of a campaign that fold.c reads."""

UNMOVED = frozenset({
    "scenes", "entries", "title", "mode", "lookback", "refund_basis", "policies", "debt_cap_minor",
    "holdout_salt", "priority", "collect_days", "debt_days", "match", "quiet",
})  # fmt: skip
"""Fields that change nothing about an order in time, or nothing by themselves."""

NONE = -(2**63)
"""plan.h: this instant or day is not given."""

MOST = 10**7
"""Days, rounds and counts beyond are left to Python."""

YEAR_MS = 366 * DAY_MS
MOST_YEARS = 8  # of plans kept
LAST_PLAN_MS = 4_102_444_800_000  # 2100-01-01: events of later years are left to Python
_PLAIN = re.compile(r"[ !#-\[\]-~]*")  # what JSON writes as it is
_encode = msgspec.msgpack.Encoder(order="deterministic").encode


def layout_problems() -> list[str]:
    """Name every struct that is no longer what the C sources know; empty: all is well."""
    found = [
        f"{of.__name__} has fields {fields}"
        for of, known in {**KNOWN, **WHOLE}.items()
        if (fields := of.__struct_fields__) != known + INERT.get(of, ())
    ]
    return found + [
        f"{of.__name__} has fields {of._fields}"
        for of, known in TUPLES.items()
        if of._fields != known
    ]


@cache
def layout(of: Any) -> tuple[int | bytes, ...]:
    """Return how many msgpack values a struct has, and the defaults in its gaps."""
    fields = msgspec.structs.fields(of)
    gaps = [b""]
    for field in fields[len(KNOWN[of]) :]:
        if field.name in AMONG.get(of, ()):
            gaps.append(b"")
        else:
            gaps[-1] += _encode(_default(field))
    tagged = of.__struct_config__.tag is not None
    return (len(fields) + tagged, *gaps, *[b""] * (GAPS - len(gaps)))


def _default(field: Any) -> Any:
    missing = field.default is msgspec.NODEFAULT
    return field.default_factory() if missing else field.default


@cache
def _silent() -> tuple[Any, ...]:
    """Return the fields of a campaign that fold.c does not know: they must hold their defaults."""
    fields = msgspec.structs.fields(Campaign)  # it reads the annotations anew: 3 ms a call
    return tuple(field for field in fields if field.name not in READ | UNMOVED)


def is_plain(campaign: Campaign) -> bool:
    """Tell whether fold.c knows all that this campaign asks for."""
    for field in _silent():
        if getattr(campaign, field.name) != _default(field):
            return False
    rights = [right for _, _, right in _rights(campaign)]
    texts = [campaign.campaign_id, campaign.currency]
    texts += [text for right in rights for text in (right.right_id, right.type)]
    numbers = [campaign.days, campaign.first_day or 0, campaign.limit, campaign.rounds_max]
    numbers += [
        campaign.cool_down_days,
        campaign.daily_cap,
        *(right.valid_days for right in rights),
    ]
    return (
        all(_PLAIN.fullmatch(text) for text in texts)
        and all(abs(number) <= MOST for number in numbers)
        and not any(right.value or right.fallback or right.supply for right in rights)
    )


class Plans:
    """The plans in use: made anew for other campaigns, and one for each year that is folded."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self.look_up = module.look_up  # the rows of the records of a batch, see there
        self._campaigns: Campaigns | None = None
        self._by_year: dict[int, Any] = {}

    def of(self, campaigns: Campaigns, at_ms: int) -> Any:
        """Return the plan for these campaigns whose days reach from a year before `at_ms` on.

        Any number will do: producers set the times of records.
        """
        if campaigns is not self._campaigns or len(self._by_year) > MOST_YEARS:
            self._campaigns = campaigns
            self._by_year.clear()
        year = min(max(at_ms, EARLIEST_MS), LAST_PLAN_MS) // YEAR_MS
        plan = self._by_year.get(year)
        if plan is None:
            plan = self._by_year[year] = plan_of(self._module, campaigns, year * YEAR_MS)
        return plan

    def counted(
        self, plan: Any
    ) -> tuple[dict[str, int], dict[tuple[str, str], int], list[tuple[str, str, str, int, int]]]:
        """Return what a plan has said since the last call: outputs, task events, rewards.

        By type; by (campaign, type); as (campaign, kind, currency, rewards, minor units).
        """
        types, tasks, rewards = plan.counted()
        names = self._module.TYPES
        outputs = {type_: count for type_, count in zip(names, types, strict=True) if count}
        events: Counter[tuple[str, str]] = Counter()
        for campaign_id, type_, count in tasks:  # of each of its versions
            events[campaign_id, names[type_]] += count
        return outputs, events, rewards


def plan_of(module: Any, campaigns: Campaigns, at_ms: int) -> Any:
    """Return the compiled plan of a registry, with days from about a year before `at_ms`."""
    listed = sorted(
        campaigns, key=lambda campaign: (campaign.campaign_id.encode(), campaign.version)
    )
    calendars = list(dict.fromkeys(campaign.calendar for campaign in listed))
    from_ms = max(DAY_MS, (at_ms // YEAR_MS - 1) * YEAR_MS)
    to_ms = from_ms + 4 * YEAR_MS
    layouts = (
        layout(rows._Row),  # noqa: SLF001
        layout(state.Task),
        layout(state.Entry),
        layout(events.OrderReported),
    )
    heads = [(_topic(type_), outputs._of_type(_topic(type_), type_)) for type_ in module.TYPES]  # noqa: SLF001
    return module.Plan(
        [
            _campaign(
                campaign, calendars, plain=is_plain(campaign) and _goes_on(campaign, campaigns)
            )
            for campaign in listed
        ],
        [_table(calendar, from_ms, to_ms) for calendar in calendars],
        (from_ms, to_ms, 0, [], [(from_ms, 0)]),
        layouts,
        rows.encode_row(state.new("")),
        facts.USER,
        MAX_FACTS_BYTES,
        heads,
        Outgoing,
    )


def _topic(type_: str) -> str:
    return "rewards" if type_.startswith("reward.") else "task-events"


def _rights(campaign: Campaign) -> Iterator[tuple[int, str, Right]]:
    """Each right with its step in a cycle (0: the final ones) and kind, in the order of issue."""
    for step, rights in campaign.step_rewards.items():
        for right in rights:
            yield step, "step", right
    for right in campaign.final_rewards:
        yield 0, "final", right


def _goes_on(campaign: Campaign, campaigns: Campaigns) -> bool:
    campaign_id = campaign.campaign_id
    return campaigns.stopped_at(campaign_id) is None and campaigns.killed_at(campaign_id) is None


def _campaign(campaign: Campaign, calendars: list[Calendar], *, plain: bool) -> tuple[object, ...]:
    return (
        campaign.campaign_id.encode(),
        campaign.version,
        campaign.effective_from_ms,
        plain,
        campaign.auto,
        campaign.dark,
        campaign.basis != "consumption",
        calendars.index(campaign.calendar),
        campaign.currency.encode(),
        campaign.days if plain else 0,
        _given(campaign.first_day) if plain else 0,
        campaign.target_orders if plain else 0,
        campaign.limit if plain else 0,
        int(campaign.on),
        campaign.min_amount_minor,
        campaign.daily_cap if plain else 0,
        campaign.rounds_max if plain else 0,
        campaign.cool_down_days if plain else 0,
        _given(campaign.opens_at_ms),
        _given(campaign.closes_at_ms),
        campaign.grace_ms,
        campaign.horizon_ms,
        [_right(*each) for each in _rights(campaign)] if plain else [],
    )


def _given(value: int | None) -> int:
    return NONE if value is None else value


def _right(step: int, kind: str, right: Right) -> tuple[object, ...]:
    json = orjson.dumps(given(right), option=orjson.OPT_SORT_KEYS)
    return (
        step,
        kind.encode(),
        right.right_id.encode(),
        right.type.encode(),
        json,
        right.value_minor,
        right.valid_days * DAY_MS,
    )


@lru_cache(4 * MOST_YEARS)
def _table(calendar: Calendar, from_ms: int, to_ms: int) -> tuple[object, ...]:
    """Return (from, to, first day, begins of days, shifts of the zone): what plan.h calls Calendar.

    Cut where a day is no day of about 24 hours, or a shift is not of whole minutes on a quarter
    hour: such zones were, and Python knows them.
    """
    first = calendar.day(from_ms)
    begins = [calendar.begins_ms(first)]
    while begins[-1] < to_ms:
        begins.append(calendar.begins_ms(first + len(begins)))
        if not 20 * days.HOUR_MS <= begins[-1] - begins[-2] <= 28 * days.HOUR_MS:
            begins.pop()
            break
    until_ms = min(to_ms, begins[-1])
    shifts: list[tuple[int, int]] = []
    for at_ms, offset in _shifts(calendar, from_ms, until_ms):
        if len(offset) != len("+08:00") or (shifts and at_ms % QUARTER_MS):
            until_ms = at_ms
            break
        sign = -1 if offset[0] == "-" else 1
        shifts.append((at_ms, sign * (int(offset[1:3]) * 60 + int(offset[4:]))))
    return from_ms, until_ms, first, begins, shifts


def _shifts(calendar: Calendar, from_ms: int, to_ms: int) -> Iterable[tuple[int, str]]:
    """Yield each instant at which the zone's offset changes, and the new one, from `from_ms` on."""
    last = _offset(calendar, from_ms)
    yield from_ms, last
    for at_ms in range(from_ms, to_ms, 6 * days.HOUR_MS):
        now = _offset(calendar, at_ms)
        if now == last:
            continue
        low, high = at_ms - 6 * days.HOUR_MS, at_ms
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _offset(calendar, middle) == last else (low, middle)
        yield high, now
        last = now


def _offset(calendar: Calendar, at_ms: int) -> str:
    _, _, offset = days._local_date(calendar.time_zone, at_ms // QUARTER_MS)  # noqa: SLF001
    return offset
