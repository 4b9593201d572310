"""What is written beside a dead letter is read back, in every tool's words; nothing breaks it."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import settings
from streams.errors import Reason, UsageError
from streams.feed.batch import dead_letter
from streams.feed.ports import Record
from streams.replay.said import plain
from streams.wire import dead_letters

BAD = Record("orders", 3, 81, b"u-1", b"\xff", [("traceparent", b"00-1")], 1_772_000_000_000)


def as_read(outgoing, headers=None) -> Record:
    """The letter as it lies on `dead-letters`."""
    of = outgoing.headers if headers is None else headers
    return Record("dead-letters", 3, 17, outgoing.key, outgoing.value, of, 1_773_000_000_000)


def only(headers, prefix):
    return [header for header in headers if header[0].startswith(prefix)]


@pytest.mark.parametrize(
    ("dialect", "prefix"),
    [
        ("leidan", dead_letters.OURS),
        ("streams", dead_letters.STREAMS),
        ("connect", dead_letters.CONNECT),
        ("spring", dead_letters.SPRING),
    ],
)
def test_each_tool_finds_reason_detail_and_place_under_its_own_names_alone(dialect, prefix):
    written = dead_letter(BAD, Reason.NOT_UTF8, "at 0", ("connect", "spring"))
    letter = dead_letters.read(as_read(written, only(written.headers, prefix)))
    assert letter.dialect == dialect
    assert (letter.reason, letter.detail) == ("not_utf8", "at 0")
    assert letter.origin == ("orders", 3, 81)


def test_numbers_are_text_for_connect_and_big_endian_for_spring():
    headers = dict(dead_letter(BAD, Reason.NOT_UTF8, "", ("connect", "spring")).headers)
    assert headers["__connect.errors.offset"] == b"81"
    assert headers["kafka_dlt-original-offset"] == struct.pack(">q", 81)
    assert headers["kafka_dlt-original-partition"] == struct.pack(">i", 3)
    assert headers["kafka_dlt-original-timestamp"] == struct.pack(">q", BAD.recorded_at_ms)


def test_without_the_setting_there_are_none_of_connect_and_spring():
    headers = dead_letter(BAD, Reason.NOT_UTF8, "").headers
    assert not only(headers, (dead_letters.CONNECT, dead_letters.SPRING))


def test_a_senders_own_headers_of_these_names_do_not_count():
    forged = BAD._replace(headers=[("dl-topic", b"claims"), ("dl-offset", b"1")])
    letter = dead_letters.read(as_read(dead_letter(forged, Reason.NOT_UTF8, "")))
    assert letter.origin == ("orders", 3, 81)


def test_what_the_record_had_itself_is_told_from_what_was_added():
    written = dead_letter(BAD, Reason.NOT_UTF8, "", ("connect", "spring"))
    assert dead_letters.own_headers(written.headers) == BAD.headers


def test_a_setting_makes_no_difference_to_who_compares_letters():
    """A replay folds without the setting, and must find the letters of a worker that had it."""
    bare = as_read(dead_letter(BAD, Reason.NOT_UTF8, ""))
    adorned = as_read(dead_letter(BAD, Reason.NOT_UTF8, "", ("connect", "spring")))
    assert plain(adorned) == plain(bare)
    sent = BAD._replace(headers=[("kafka_dlt-original-topic", b"theirs")])
    assert plain(as_read(dead_letter(sent, Reason.NOT_UTF8, ""))) != plain(bare)


def test_bytes_are_told_apart_also_none_from_empty():
    pairs = [(None, b"a"), (b"", b"a"), (b"a", None), (b"a", b""), (b"1:a", b""), (b"1", b":a")]
    assert len({dead_letters.digest(*pair) for pair in pairs}) == len(pairs)


NAMES = st.sampled_from(
    [
        name
        for name, _ in dead_letter(BAD, Reason.NOT_UTF8, "", ("connect", "spring")).headers
    ]
)  # fmt: skip
HEADERS = st.lists(st.tuples(NAMES, st.one_of(st.none(), st.binary(max_size=40))))


@given(HEADERS, st.one_of(st.none(), st.binary(max_size=9)))
def test_whatever_somebody_wrote_is_read(headers, key):
    letter = dead_letters.read(Record("dead-letters", 0, 0, key, None, headers, 0))
    assert letter.attempt >= 1
    assert f"{letter.reason}{letter.detail}{letter.user_id}".isprintable()


@pytest.mark.parametrize("given_", ["spring,connect", ["spring", "connect"]])
def test_the_setting_is_a_list_of_tools(given_):
    found = settings.load(None, {"dead_letter_headers": given_}, {})
    assert found.dead_letter_headers == ("spring", "connect")


def test_a_tool_nobody_knows_is_refused():
    with pytest.raises(UsageError, match=r"dead_letter_headers.*'flink'"):
        settings.load(None, {"dead_letter_headers": "flink"}, {})
