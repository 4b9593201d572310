"""Dead letters byte for byte, and fail_stop, which no error of ours may pass."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from streams import __version__
from streams.errors import Reason
from streams.feed.batch import Batch, dead_letter
from streams.feed.ports import Record

ROOT = Path(__file__).resolve().parents[2]
BAD = Record("orders", 3, 81, b"u1", b"\xff not json", [("traceparent", b"00-1")], 5)


def test_a_dead_letter_keeps_key_value_headers_and_partition():
    letter = dead_letter(BAD, Reason.NOT_JSON, "at 0")
    assert (letter.topic, letter.partition) == ("dead-letters", 3)
    assert (letter.key, letter.value) == (BAD.key, BAD.value)
    assert letter.headers[0] == ("traceparent", b"00-1")


def test_a_dead_letter_says_where_it_stood_and_why_in_both_spellings():
    headers = dict(dead_letter(BAD, Reason.NOT_JSON, "at 0").headers)
    assert headers["dl-reason"] == headers["__streams.errors.exception"] == b"not_json"
    assert headers["dl-detail"] == headers["__streams.errors.message"] == b"at 0"
    assert headers["dl-topic"] == headers["__streams.errors.topic"] == b"orders"
    assert headers["dl-partition"] == headers["__streams.errors.partition"] == b"3"
    assert headers["dl-offset"] == headers["__streams.errors.offset"] == b"81"
    assert headers["dl-attempt"] == b"1"
    assert headers["dl-app-version"] == __version__.encode()


def test_a_replayed_record_keeps_the_number_of_its_attempt():
    replayed = BAD._replace(headers=[("dl-attempt", b"2")])
    assert dead_letter(replayed, Reason.NOT_JSON, "").headers[-7] == ("dl-attempt", b"2")


def test_a_dead_letter_of_nothing_is_a_dead_letter():
    letter = dead_letter(BAD._replace(key=None, value=None), Reason.EMPTY, "")
    assert (letter.key, letter.value) == (None, None)


def test_a_rejected_record_is_counted_by_reason_and_as_what_became_of_it():
    batch = Batch("orders", 3, [BAD], None, None, None)
    batch.reject(BAD, Reason.NOT_JSON, "")
    assert (batch.dead, batch.reasons, batch.outcomes) == ([81], {"not_json": 1}, {"rejected": 1})


@pytest.mark.parametrize(
    ("raised", "code"), [("ValueError('ours')", 70), ("DiskError('no space')", 74)]
)
def test_fail_stop_ends_the_process_and_names_the_record(raised, code):
    program = f"""
from streams.errors import DiskError
from streams.feed.batch import Batch, fail_stop
from streams.feed.ports import Record
record = Record("orders", 3, 81, b"u1", b"", [], 0)
batch = Batch("orders", 3, [record], None, None, None, note=lambda at: print("noted", at))
batch.at = record
try:
    with fail_stop(batch):
        raise {raised}
finally:
    print("went on")
"""
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
        check=False,
    )
    assert run.returncode == code
    assert "went on" not in run.stdout
    if code == 70:
        assert "noted orders[3]@81" in run.stdout
        assert "ValueError: ours" in run.stderr
