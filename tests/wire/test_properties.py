"""Laws of the decoders: what was written is read, and no bytes do worse than be refused."""

import json
from datetime import UTC, datetime, timedelta, timezone

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from streams.domain.events import (
    CancellationWithdrawn,
    ClaimRequested,
    Context,
    Discount,
    DrawRequested,
    Event,
    Line,
    OrderCancelled,
    OrderReported,
    Returned,
    RewardCollected,
    RewardResult,
    RiskVerdict,
    Status,
    TaskWithdrawn,
)
from streams.errors import EventRejected, Reason
from streams.feed.ports import Record
from streams.wire.envelope import EARLIEST_MS, LEAD_MS, MAX_INTEGER
from tests.wire.examples import DECODERS, examples

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEAR_2200_MS = 7_258_118_400_000

ids = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=128)
optional_ids = st.just("") | ids
counts = st.integers(1, MAX_INTEGER)
contexts = st.none() | st.builds(
    Context,
    segments=st.none() | st.lists(ids, max_size=3).map(tuple),
    orders_30d=st.none() | st.integers(0, MAX_INTEGER),
)
times = st.integers(EARLIEST_MS, YEAR_2200_MS)


@st.composite
def orders(draw):
    """Orders whose sums agree: prices and discounts first, totals from them."""
    quantities = st.integers(1, 1000)
    prices = st.integers(0, 10**9)
    names = draw(st.lists(ids, min_size=1, max_size=5, unique=True))
    lines = tuple(Line(name, draw(quantities), draw(prices), draw(optional_ids)) for name in names)
    goods_minor = left = sum(line.quantity * line.unit_minor for line in lines)
    discounts = []
    for threshold_minor in draw(st.lists(st.integers(0, 10**9), max_size=3)):
        discounts.append(Discount(draw(st.integers(0, left)), threshold_minor))
        left -= discounts[-1].amount_minor
    at_ms = draw(times)
    return OrderReported(
        user_id=draw(ids),
        occurred_at_ms=at_ms,
        recorded_at_ms=draw(st.integers(at_ms - LEAD_MS, YEAR_2200_MS)),
        order_id=draw(ids),
        version=draw(counts),
        status=draw(st.sampled_from(Status)),
        currency=draw(st.text("ABCXYZ", min_size=3, max_size=3)),
        goods_minor=goods_minor,
        consumption_minor=left,
        lines=lines,
        discounts=tuple(discounts),
        channel=draw(optional_ids),
        store_id=draw(optional_ids),
        parent_order_id=draw(optional_ids),
        entry=draw(optional_ids),
        context=draw(contexts),
    )


def others(kind, **fields):
    return st.builds(
        lambda at_ms, wait_ms, **rest: kind(
            occurred_at_ms=at_ms, recorded_at_ms=at_ms - LEAD_MS + wait_ms, **rest
        ),
        at_ms=times,
        wait_ms=st.integers(0, 10**12),
        user_id=ids,
        **fields,
    )


returned = st.lists(st.tuples(ids, counts), max_size=5, unique_by=lambda pair: pair[0]).map(
    lambda pairs: tuple(Returned(*pair) for pair in pairs)
)
claims = others(
    ClaimRequested,
    claim_id=ids,
    campaign_id=ids,
    entry=optional_ids,
    trigger_order_id=optional_ids,
    context=contexts,
) | others(TaskWithdrawn, claim_id=ids, task_id=ids)
claims |= others(DrawRequested, claim_id=ids, task_id=ids, step=ids)
claims |= others(RewardCollected, claim_id=ids, reward_id=ids)
cancellations = (
    others(OrderCancelled, cancellation_id=ids, order_id=ids, lines=returned)
    | others(CancellationWithdrawn, cancellation_id=ids, withdraws=ids)
    | others(
        RiskVerdict,
        cancellation_id=ids,
        order_id=optional_ids,
        verdict=st.sampled_from(["review", "block", "clear"]),
    )
)
results = others(
    RewardResult,
    result_id=ids,
    reward_id=ids,
    seq=counts,
    outcome=st.sampled_from(["issued", "failed", "spent", "revoked", "revoke_failed", "expired"]),
    retryable=st.booleans(),
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | ids,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ids, inner, max_size=3),
    max_leaves=8,
)


def written(event: Event) -> tuple[str, dict]:  # noqa: C901, PLR0911  # one for each type
    """Return the topic and the object a producer writes for an event: the decoder backwards."""
    match event:
        case OrderReported():
            body = order_body(event)
            return "orders", {"type": f"order.{event.status.name.lower()}", **body}
        case ClaimRequested():
            body = {"claim_id": event.claim_id, "campaign_id": event.campaign_id}
            body |= {
                n: getattr(event, n) for n in ("entry", "trigger_order_id") if getattr(event, n)
            }
            body |= context_body(event.context)
            return "claims", {"type": "claim.requested", **body}
        case TaskWithdrawn():
            body = {"claim_id": event.claim_id, "task_id": event.task_id}
            return "claims", {"type": "task.withdrawn", **body}
        case DrawRequested():
            body = {"claim_id": event.claim_id, "task_id": event.task_id, "step": event.step}
            return "claims", {"type": "draw.requested", **body}
        case RewardCollected():
            body = {"claim_id": event.claim_id, "reward_id": event.reward_id}
            return "claims", {"type": "reward.collected", **body}
        case OrderCancelled():
            body = {"cancellation_id": event.cancellation_id, "order_id": event.order_id}
            if not event.lines:
                return "cancellations", {"type": "order.cancelled", "reason": "user", **body}
            lines = [{"line_id": r.line_id, "quantity": r.quantity} for r in event.lines]
            return "cancellations", {"type": "order.refunded", "lines": lines, **body}
        case CancellationWithdrawn():
            body = {"cancellation_id": event.cancellation_id, "withdraws": event.withdraws}
            return "cancellations", {"type": "cancellation.withdrawn", **body}
        case RiskVerdict():
            body = {"cancellation_id": event.cancellation_id, "verdict": event.verdict}
            body |= {"order_id": event.order_id} if event.order_id else {}
            return "cancellations", {"type": "risk.verdict", **body}
        case RewardResult():
            names = ("result_id", "reward_id", "seq", "outcome", "retryable")
            body = {name: getattr(event, name) for name in names}
            return "reward-results", {"type": "reward.result", **body}


def context_body(context: Context | None) -> dict:
    if context is None:
        return {}
    said = {"segments": context.segments, "orders_30d": context.orders_30d}
    return {"context": {name: value for name, value in said.items() if value is not None}}


def order_body(order: OrderReported) -> dict:
    body = {
        "order_id": order.order_id,
        "version": order.version,
        "currency": order.currency,
        "goods_minor": order.goods_minor,
        "consumption_minor": order.consumption_minor,
        "lines": [
            {"line_id": line.line_id, "sku": "s", "quantity": line.quantity}
            | {"unit_minor": line.unit_minor}
            | ({"category": line.category} if line.category else {})
            for line in order.lines
        ],
        "discounts": [
            {"kind": "full", "amount_minor": d.amount_minor, "threshold_minor": d.threshold_minor}
            for d in order.discounts
        ],
    }
    places = ("channel", "store_id", "parent_order_id", "entry")
    body |= context_body(order.context)
    return body | {name: getattr(order, name) for name in places if getattr(order, name)}


@given(
    event=orders() | claims | cancellations | results,
    offset_minutes=st.integers(-14 * 60, 14 * 60),
    below_a_millisecond=st.text("0123456789", max_size=9),
    unknown=st.dictionaries(ids.map(lambda name: f"x-{name}"), json_values, max_size=2),
    style=st.fixed_dictionaries(
        {
            "ensure_ascii": st.booleans(),
            "sort_keys": st.booleans(),
            "indent": st.none() | st.just(2),
        }
    ),
)
def test_what_was_written_is_read(event, offset_minutes, below_a_millisecond, unknown, style):
    topic, body = written(event)
    zone = timezone(timedelta(minutes=offset_minutes))
    moment = (EPOCH + timedelta(milliseconds=event.occurred_at_ms)).astimezone(zone)
    seconds, offset = moment.strftime("%Y-%m-%dT%H:%M:%S"), moment.isoformat()[-6:]
    fraction = f"{event.occurred_at_ms % 1000:03d}{below_a_millisecond}"
    value = json.dumps(
        {
            **unknown,
            **body,
            "v": 1,
            "user_id": event.user_id,
            "occurred_at": f"{seconds}.{fraction}{offset}",
        },
        **style,
    ).encode()
    record = Record(topic, 0, 0, event.user_id.encode(), value, [], event.recorded_at_ms)
    assert DECODERS[topic](record) == event


GOOD = [e.record for e in examples("valid", "tolerated", topics=tuple(DECODERS))]


@st.composite
def spoilt(draw):
    """A good record after one to three accidents on its way."""
    record = draw(st.sampled_from(GOOD))
    value = record.value
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(value)))
        to = draw(st.integers(at, min(len(value), at + 20)))
        value = draw(
            st.sampled_from(
                [
                    value[:at],
                    value[:at] + value[to:],
                    value[:to] + value[at:],
                    value[:at]
                    + bytes(b ^ 1 << draw(st.integers(0, 7)) for b in value[at:to][:1])
                    + value[at + 1 :],
                    value[:at] + draw(st.binary(max_size=8)) + value[to:],
                    value[:at] + draw(st.sampled_from(TOKENS)) + value[to:],
                ]
            )
        )
    return record._replace(value=value)


TOKENS = [
    *(b"NaN", b"-Infinity", b"null", b"true", b"1e999", b"-0", b"0.1", b"9" * 5_000, b'""', b"{}"),
    *(b"[]", b'"\\ud800"', b"\\u0000", b"\xed\xa0\x80", b"\xc2\x80", b"\x00", b'"type":', b"," * 3),
]


def outcome(record: Record) -> Event | Reason:
    """Return the event or the reason; any other exception is the test's failure."""
    try:
        return DECODERS[record.topic](record)
    except EventRejected as refused:
        return refused.reason


@settings(max_examples=3_000)
@given(record=spoilt())
def test_spoilt_bytes_are_decoded_or_refused_and_nothing_else(record):
    got = outcome(record)
    if isinstance(got, Reason):
        assert got is outcome_of_json(record.value, got)
    else:
        keyed_by = "pool_id" if record.topic == "draw-requests" else "user_id"
        key = getattr(got, keyed_by, None)  # a tick has none
        assert record.key == (None if key is None else key.encode())


@given(value=st.binary(max_size=200), topic=st.sampled_from(sorted(DECODERS)))
def test_random_bytes_are_refused(value, topic):
    assert isinstance(outcome(Record(topic, 0, 0, b"u-1", value, [], YEAR_2200_MS)), Reason)


@given(value=json_values, topic=st.sampled_from(sorted(DECODERS)))
def test_random_json_is_refused_and_never_called_something_else(value, topic):
    got = outcome(Record(topic, 0, 0, b"u-1", json.dumps(value).encode(), [], YEAR_2200_MS))
    no_user = Reason.SCHEMA if topic == "ticks" else Reason.NO_USER
    expected = {no_user, Reason.UNKNOWN_TYPE} if isinstance(value, dict) else {Reason.NOT_OBJECT}
    assert got in expected


@pytest.mark.parametrize("record", GOOD, ids=lambda r: r.topic)
def test_no_prefix_of_a_good_value_is_an_event(record):
    value = record.value.rstrip()
    assert {outcome(record._replace(value=value[:cut])) for cut in range(1, len(value))} <= {
        Reason.NOT_JSON,
        Reason.NOT_UTF8,
        Reason.EMPTY,  # of a registry frame
    }


def outcome_of_json(value: bytes, got: Reason) -> Reason:
    """Judge the bytes with Python's own parser: it must agree on what is text, JSON, an object."""
    if value[:1] == b"\x00" and len(value) >= 5:
        value = value[5:]
    if not value:
        return Reason.EMPTY
    try:
        parsed = json.loads(value.decode(), parse_constant=not_a_constant)
    except UnicodeDecodeError:
        return Reason.NOT_UTF8
    except ValueError:  # ours never reads the digits of numbers in fields nobody knows
        return got if b"9" * 5_000 in value else Reason.NOT_JSON
    if half_a_pair(parsed):  # Python keeps it, but it is no text: it cannot be written as UTF-8
        return Reason.NOT_JSON
    if not isinstance(parsed, dict):
        return Reason.NOT_OBJECT
    assert got not in (Reason.EMPTY, Reason.NOT_UTF8, Reason.NOT_JSON, Reason.NOT_OBJECT)
    return got


def not_a_constant(name: str) -> None:
    raise ValueError(name)


def half_a_pair(parsed: object) -> bool:
    text = json.dumps(parsed, ensure_ascii=False)
    return any("\ud800" <= sign <= "\udfff" for sign in text)
