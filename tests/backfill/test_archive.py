"""An archive gives back every byte, or says what is wrong with it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.backfill.archive import FORMATS, Archive, Writer, line_of, record_of
from streams.backfill.frozen import records
from streams.errors import UsageError
from streams.feed.ports import Record

anything = st.none() | st.binary(max_size=60) | st.text(max_size=30).map(str.encode)
headers = st.lists(st.tuples(st.text(max_size=8), anything), max_size=4)
some = st.builds(
    Record,
    st.just("orders"),
    st.just(0),
    st.integers(0, 2**62),
    anything,
    anything,
    headers,
    st.integers(-(2**62), 2**62),
)


@given(some)
def test_a_line_gives_back_the_record_byte_for_byte(record):
    line = line_of(record)
    assert line.count(b"\n") == 1, "one line a record"
    assert record_of("orders", 0, line) == record


def archived(directory: Path, format_: str, found: list[Record]) -> Archive:
    writer = Writer(directory, format_)
    writer.write("orders", 0, 0, 100, found)
    writer.finish("a-cluster", 1, {})
    return Archive(directory)


@pytest.mark.parametrize("format_", FORMATS)
@settings(max_examples=20)
@given(st.lists(some, max_size=30), st.integers(0, 99))
def test_every_format_gives_back_a_range_in_order(format_, found, first):
    found = [record._replace(offset=3 * n) for n, record in enumerate(found)]
    with tempfile.TemporaryDirectory() as place:
        archive = archived(Path(place) / "archive", format_, found)
        archive.verify()
        assert archive.range("orders", 0) == (0, 100)
        assert list(records(archive, "orders", 0, 0, 100)) == found
        assert list(records(archive, "orders", 0, first, 80)) == [
            record for record in found if first <= record.offset < 80
        ]
        assert list(records(archive, "claims", 0, 0, 0)) == []


RECORD = Record("orders", 0, 5, b"u1", b'{"a": 1}', [("h", b"\xff")], 1_767_571_200_000)


@pytest.mark.parametrize("format_", FORMATS)
def test_the_same_records_are_the_same_files(tmp_path, format_):
    one = archived(tmp_path / "one", format_, [RECORD])
    two = archived(tmp_path / "two", format_, [RECORD])
    assert one.manifest == two.manifest


@pytest.mark.parametrize("format_", FORMATS)
def test_one_flipped_bit_is_found_before_anything_is_folded_and_the_file_named(tmp_path, format_):
    archive = archived(tmp_path / "archive", format_, [RECORD] * 50)
    path = tmp_path / "archive" / archive.manifest.topics["orders"][0].file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UsageError, match=rf"{path.name}: damaged: .*export again"):
        archive.verify()


def test_an_archive_that_was_not_finished_is_none(tmp_path):
    Writer(tmp_path / "archive", "zstd").write("orders", 0, 0, 100, [RECORD])
    with pytest.raises(UsageError, match="unfinished"):
        Archive(tmp_path / "archive")


def test_an_archive_is_never_written_over_another(tmp_path):
    archived(tmp_path / "archive", "gzip", [RECORD])
    with pytest.raises(UsageError, match="not empty"):
        Writer(tmp_path / "archive", "gzip")
