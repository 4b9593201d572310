"""What every user-keyed record shares: size, frame, nesting, time, key, and what is named first."""

import json

import pytest

from streams.errors import EventRejected, Reason
from streams.feed.ports import Record
from streams.wire import cancellations, claims, envelope, orders, results
from tests.wire.examples import examples, ms

ORDER = {
    "type": "order.paid",
    "v": 1,
    "user_id": "u-1",
    "occurred_at": "2023-09-02T19:04:11+08:00",
    "order_id": "o-17",
    "version": 2,
    "currency": "CNY",
    "goods_minor": 1200,
    "consumption_minor": 1200,
    "lines": [{"line_id": "1", "sku": "eggs", "quantity": 2, "unit_minor": 600}],
}
LATER_MS = ms("2026-01-01T00:00:00+00:00")


def record(value, key=b"u-1", headers=None, recorded_at_ms=LATER_MS):
    return Record("orders", 3, 81, key, value, headers or [], recorded_at_ms)


def written(**fields):
    return json.dumps({**ORDER, **fields}).encode()


def padded(size):
    """An order of exactly this many bytes, thanks to a field nobody knows."""
    value = written(padding="")
    return value[:-2] + b"x" * (size - len(value)) + value[-2:]


def nested(depth):
    """An order whose deepest value lies `depth` containers deep, its own object included."""
    return written(extra=0)[:-2] + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


def reason(value, **around):
    with pytest.raises(EventRejected) as refused:
        orders.decode(record(value, **around))
    return refused.value.reason


def occurred_at_ms(text):
    return orders.decode(record(written(occurred_at=text))).occurred_at_ms


@pytest.mark.parametrize("value", [None, b"", b"\x00\x00\x00\x00\x07"])
def test_no_value_is_empty(value):
    assert reason(value) is Reason.EMPTY


def test_a_value_of_a_mebibyte_is_read_and_a_byte_more_is_not():
    assert orders.decode(record(padded(envelope.MAX_VALUE_BYTES))).order_id == "o-17"
    assert reason(padded(envelope.MAX_VALUE_BYTES + 1)) is Reason.TOO_LARGE


def test_ten_megabytes_are_refused_unread():
    assert reason(b"\xff" * 10_000_000) is Reason.TOO_LARGE


def test_a_registry_frame_changes_nothing():
    framed = b"\x00\x00\x00\x01\x02" + written()
    assert orders.decode(record(framed)) == orders.decode(record(written()))


def test_a_frame_cut_short_is_not_json():
    assert reason(b"\x00\x00\x00") is Reason.NOT_JSON


def test_nesting_is_judged_at_256_whatever_the_stack():
    def from_below(frames):
        if frames:
            return from_below(frames - 1)
        return orders.decode(record(nested(256))), reason(nested(257))

    assert from_below(0) == from_below(500)
    assert from_below(0)[1] is Reason.NOT_JSON


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_a_mebibyte_of_brackets_neither_crashes_nor_hangs(opening):
    value = opening * (envelope.MAX_VALUE_BYTES // len(opening))
    assert reason(value) is Reason.NOT_JSON


def test_a_mebibyte_of_escaped_quotes_left_open_does_not_hang():
    value = b"[" * 300 + b'"' + b'\\"' * 500_000
    assert reason(value) is Reason.NOT_JSON


def test_brackets_inside_a_text_are_no_nesting():
    text = '[{"\\' * 5_000
    assert orders.decode(record(written(note=text))).order_id == "o-17"


def test_many_lines_are_no_nesting():
    line = ORDER["lines"][0]
    lines = [{**line, "line_id": str(n)} for n in range(envelope.MAX_LINES)]
    order = orders.decode(
        record(written(lines=lines, goods_minor=2_400_000, consumption_minor=2_400_000))
    )
    assert len(order.lines) == envelope.MAX_LINES
    one_more = [*lines, {**line, "line_id": "more"}]
    assert reason(written(lines=one_more)) is Reason.SCHEMA


def test_a_full_order_of_long_ids_is_not_too_large():
    line = {"sku": "s" * 128, "category": "c" * 128, "quantity": 1, "unit_minor": 10**9}
    lines = [{"line_id": f"{n:0128d}", **line} for n in range(envelope.MAX_LINES)]
    total = envelope.MAX_LINES * 10**9
    value = written(lines=lines, goods_minor=total, consumption_minor=total)
    assert len(orders.decode(record(value)).lines) == envelope.MAX_LINES


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2023-09-02T19:04:11+08:00", "2023-09-02T11:04:11.000+00:00"),
        ("2023-09-02T19:04:11.5-03:30", "2023-09-02T22:34:11.500+00:00"),
        ("2023-09-02T23:59:59.999Z", "2023-09-02T23:59:59.999+00:00"),
        ("2023-09-02T23:59:59.9999Z", "2023-09-02T23:59:59.999+00:00"),
        ("2023-09-02T23:59:59.9999999Z", "2023-09-02T23:59:59.999+00:00"),
        ("2023-09-02T23:59:59.0009999Z", "2023-09-02T23:59:59.000+00:00"),
        ("2023-09-02T23:59:59.000000999Z", "2023-09-02T23:59:59.000+00:00"),
        ("2023-12-31T23:59:59.999999999999Z", "2023-12-31T23:59:59.999+00:00"),
    ],
)
def test_times_are_cut_to_milliseconds_and_never_rounded_up(text, utc):
    assert occurred_at_ms(text) == ms(utc)


def test_sixty_seconds_ahead_is_clock_skew_and_a_millisecond_more_is_the_future():
    at = ms(ORDER["occurred_at"])
    assert orders.decode(record(written(), recorded_at_ms=at - 60_000)).occurred_at_ms == at
    assert reason(written(), recorded_at_ms=at - 60_001) is Reason.FUTURE


def test_time_begins_in_2000():
    assert occurred_at_ms("2000-01-01T00:00:00Z") == envelope.EARLIEST_MS
    assert reason(written(occurred_at="1999-12-31T23:59:59.999Z")) is Reason.SCHEMA


def test_the_record_says_when_it_was_written():
    assert (
        orders.decode(record(written(), recorded_at_ms=LATER_MS + 7)).recorded_at_ms == LATER_MS + 7
    )


@pytest.mark.parametrize("key", [None, b"", b"u-2", b"U-1", b"u-1 ", b"\xff", b"x" * 10_000_000])
def test_a_key_that_is_not_the_user_is_a_mismatch(key):
    assert reason(written(), key=key) is Reason.KEY_MISMATCH


def test_a_guest_is_named_before_anything_else_about_the_order():
    everything_wrong = written(user_id=None, order_id=7, occurred_at="1970-01-01", lines=[])
    assert reason(everything_wrong, key=None) is Reason.NO_USER
    assert reason(everything_wrong, key=b"u-1") is Reason.NO_USER


@pytest.mark.parametrize(
    ("fields", "first"),
    [
        ({"type": "x", "v": 2, "user_id": None, "version": "1"}, Reason.UNKNOWN_TYPE),
        ({"v": 2, "user_id": None, "version": "1"}, Reason.UNKNOWN_MAJOR),
        ({"user_id": None, "version": "1"}, Reason.NO_USER),
        ({"user_id": "u-2", "version": "1"}, Reason.KEY_MISMATCH),
        ({"version": "1", "occurred_at": "2036-01-01T00:00:00Z"}, Reason.SCHEMA),
        ({"occurred_at": "2036-01-01T00:00:00Z", "goods_minor": 1}, Reason.FUTURE),
        ({"lines": ORDER["lines"] * 2, "goods_minor": 1}, Reason.SCHEMA),
        ({"goods_minor": 1}, Reason.AMOUNTS),
    ],
)
def test_of_two_faults_the_first_of_the_documented_order_is_named(fields, first):
    assert reason(written(**fields)) is first


def test_a_broken_tail_is_not_json_even_behind_a_wrong_type():
    assert reason(written(version="1")[:-1] + b",") is Reason.NOT_JSON


def test_of_a_doubled_key_the_last_one_counts_as_for_other_readers():
    doubled = written()[:-1] + b',"version":3}'
    assert json.loads(doubled)["version"] == 3
    assert orders.decode(record(doubled)).version == 3


def test_a_doubled_user_is_held_against_the_key():
    doubled = written()[:-1] + b',"user_id":"u-2"}'
    assert reason(doubled, key=b"u-1") is Reason.KEY_MISMATCH


def test_two_types_contradict_each_other():
    assert reason(written()[:-1] + b',"type":"order.placed"}') is Reason.SCHEMA


@pytest.mark.parametrize("text", ["o-\n", "o-\x00", "o-\x7f", "o-\x85", "\x1fo"])
@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_no_id_holds_a_control_character_however_it_is_written(text, ensure_ascii):
    value = json.dumps({**ORDER, "order_id": text}, ensure_ascii=ensure_ascii).encode()
    assert reason(value) is Reason.SCHEMA


def test_other_signs_of_two_bytes_and_escapes_are_fine():
    # £ shares its first byte with the C1 control characters; \u0041 is only another way to say A.
    value = written(order_id="£ 17").replace(b'"u-1"', b'"u\\u002d1"')
    assert orders.decode(record(value)).order_id == "£ 17"


def test_a_cloudevents_id_must_be_the_payloads_own():
    assert orders.decode(record(written(), headers=[("ce_id", b"o-17:2"), ("ce_type", b"x")]))
    assert reason(written(), headers=[("ce_id", b"o-17")]) is Reason.KEY_MISMATCH
    assert reason(written(), headers=[("ce_id", None)]) is Reason.KEY_MISMATCH
    twice = [("ce_id", b"o-17:2"), ("ce_id", b"o-17:3")]
    assert reason(written(), headers=twice) is Reason.KEY_MISMATCH


def test_a_refusal_names_the_place_and_the_reason():
    with pytest.raises(EventRejected, match=r"^orders\[3\]@81: schema \(Expected `int`"):
        orders.decode(record(written(version="2")))


@pytest.mark.parametrize("strange", ["\ud7ff\n\x00" * 300, "\U0001f600" * 300])
def test_the_detail_of_a_refusal_is_short_and_printable(strange):
    with pytest.raises(EventRejected) as refused:
        orders.decode(record(written(type=strange)))
    assert refused.value.reason is Reason.UNKNOWN_TYPE
    assert len(refused.value.detail) <= envelope.DETAIL_CHARACTERS
    assert refused.value.detail.isascii()
    assert refused.value.detail.isprintable()


@pytest.mark.parametrize("example", examples("valid", topics=("orders", "claims")), ids=str)
@pytest.mark.parametrize(
    "decode", [orders, claims, cancellations, results], ids=lambda m: m.__name__
)
def test_a_record_on_the_wrong_topic_is_of_an_unknown_type(example, decode):
    home = {"orders": orders, "claims": claims}[example.topic]
    if decode is home:
        assert decode.decode(example.record).user_id
        return
    with pytest.raises(EventRejected) as refused:
        decode.decode(example.record)
    assert refused.value.reason is Reason.UNKNOWN_TYPE
