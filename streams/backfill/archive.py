"""An archive of topics: NDJSON, plain, gzip or zstd; a file a topic-partition, and a manifest.

A line is one record: {"offset", "timestamp" (ms), "key", "value", "headers": [[name, value]...]}.
Bytes are kept exactly: text where they are UTF-8, else {"base64": "..."}; null stays null. The
manifest is written last, so a directory without one is no archive; it has each file's range of
offsets, frozen before it was written, its records and its SHA-256.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import os
import zlib
from contextlib import contextmanager
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, Literal, cast

import msgspec
import orjson
import zstandard

from streams.errors import UsageError
from streams.feed.ports import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

MANIFEST = "manifest.json"
VERSION = 1
Format = Literal["ndjson", "gzip", "zstd"]
FORMATS: tuple[Format, ...] = ("ndjson", "gzip", "zstd")
_SUFFIX: dict[Format, str] = {"ndjson": "", "gzip": ".gz", "zstd": ".zst"}
_BLOCK = 1 << 20


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One partition of one topic: offsets from `first` to before `next`, as they were frozen."""

    file: str
    first: int
    next: int
    records: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an archive holds, and of which broker."""

    v: int
    cluster: str
    partitions: int
    topic_ids: dict[str, str]
    format: Format
    topics: dict[str, list[File]]  # by topic, in order of partition


def line_of(record: Record) -> bytes:
    """Return a record as a line, with its line end."""
    return orjson.dumps(
        {
            "offset": record.offset,
            "timestamp": record.recorded_at_ms,
            "key": told(record.key),
            "value": told(record.value),
            "headers": [[name, told(value)] for name, value in record.headers],
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


def record_of(topic: str, p: int, line: bytes) -> Record:
    """Return the record of a line; raises ValueError, KeyError, TypeError for what is none."""
    found = orjson.loads(line)
    headers = [(name, _bytes(value)) for name, value in found["headers"]]
    return Record(
        topic,
        p,
        found["offset"],
        _bytes(found["key"]),
        _bytes(found["value"]),
        cast("list[tuple[str, bytes]]", headers),  # a header may lack a value, as on the broker
        found["timestamp"],
    )


def told(data: bytes | None) -> str | dict[str, str] | None:
    """Return bytes as JSON can hold them, exactly."""
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _bytes(told_: Any) -> bytes | None:
    if told_ is None:
        return None
    if isinstance(told_, str):
        return told_.encode()
    return base64.b64decode(told_["base64"], validate=True)


class Writer:
    """A new archive in a directory of its own; `finish` makes it one."""

    def __init__(self, directory: Path, format_: Format) -> None:
        """Raises UsageError when something is there already."""
        try:
            directory.mkdir(parents=True, exist_ok=True)
            taken = any(directory.iterdir())
        except OSError as error:
            raise UsageError(f"{directory}: {error.strerror}") from error
        if taken:
            raise UsageError(f"{directory}: is not empty; an archive needs a new directory")
        self.directory, self.format = directory, format_
        self._topics: dict[str, list[File]] = {}

    def write(self, topic: str, p: int, first: int, next_: int, records: Iterable[Record]) -> int:
        """Write one partition; return its records. Partitions of a topic come in order."""
        files = self._topics.setdefault(topic, [])
        assert len(files) == p, "partitions in order"
        path = self.directory / f"{topic}-{p}.ndjson{_SUFFIX[self.format]}"
        count = 0
        with _writing(path, self.format) as out:
            for record in records:
                out.write(line_of(record))
                count += 1
        files.append(File(path.name, first, next_, count, _sha256(path)))
        return count

    def finish(self, cluster: str, partitions: int, topic_ids: dict[str, str]) -> Manifest:
        """Write the manifest."""
        manifest = Manifest(VERSION, cluster, partitions, topic_ids, self.format, self._topics)
        new = self.directory / f"{MANIFEST}.tmp"
        with new.open("wb") as out:
            out.write(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
            out.flush()
            os.fsync(out.fileno())
        new.replace(self.directory / MANIFEST)
        return manifest


@contextmanager
def _writing(path: Path, format_: Format) -> Iterator[IO[bytes]]:
    with path.open("wb") as raw:
        if format_ == "ndjson":
            yield raw
        elif format_ == "gzip":
            # no name and no time inside: the same records are the same file
            with gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed:
                yield cast("IO[bytes]", packed)
        else:
            with zstandard.ZstdCompressor(level=3).stream_writer(raw, closefd=False) as packed:
                yield cast("IO[bytes]", packed)
        raw.flush()
        os.fsync(raw.fileno())


def _lines(path: Path, format_: Format) -> Iterator[bytes]:
    if format_ == "zstd":
        with path.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as packed:
            yield from io.BufferedReader(cast("io.RawIOBase", packed), _BLOCK)
    else:
        with gzip.open(path) if format_ == "gzip" else path.open("rb") as plain:
            yield from plain


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Archive:
    """An archive that is there. Implements `frozen.Source`."""

    def __init__(self, directory: Path) -> None:
        """Raises UsageError when it is none, unfinished, or of a later version."""
        self.directory = directory
        path = directory / MANIFEST
        try:
            self.manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
        except FileNotFoundError:
            raise UsageError(
                f"{directory}: no archive, or an unfinished one: {MANIFEST} is missing. Export it "
                "again, into a new directory"
            ) from None
        except (OSError, msgspec.MsgspecError) as error:
            raise UsageError(f"{path}: {error}") from None
        if self.manifest.v != VERSION:
            raise UsageError(f"{path}: version {self.manifest.v}, this leidan knows {VERSION}")

    def verify(self) -> None:
        """Read every file once. Raises UsageError naming the one that is not as it was written."""
        for files in self.manifest.topics.values():
            for file in files:
                path = self.directory / file.file
                try:
                    found = _sha256(path)
                except OSError as error:
                    raise UsageError(f"{path}: {error.strerror}; restore it") from None
                if found != file.sha256:
                    raise UsageError(
                        f"{path}: damaged: its SHA-256 is {found}, the manifest has {file.sha256}. "
                        "Restore it from a copy, or export again"
                    )

    def range(self, topic: str, p: int) -> tuple[int, int]:
        """Return (first, next) of one partition; (0, 0) for a topic it does not hold."""
        files = self.manifest.topics.get(topic, [])
        return (files[p].first, files[p].next) if p < len(files) else (0, 0)

    def reader(self, topic: str, p: int, first: int, end: int) -> ArchiveReader:
        files = self.manifest.topics.get(topic, [])
        if p >= len(files) or first >= end:
            return ArchiveReader(topic, p, iter(()), first, end)
        path = self.directory / files[p].file
        return ArchiveReader(topic, p, _lines(path, self.manifest.format), first, end)


class ArchiveReader:
    """One file of an archive, from an offset on. Implements `frozen.Reader`."""

    def __init__(self, topic: str, p: int, lines: Iterator[bytes], first: int, end: int) -> None:
        self.topic, self.p, self._lines, self.next, self.end = topic, p, lines, first, end
        self.done = first >= end

    def read(self, max_records: int, timeout_s: float) -> list[Record]:
        """Return the next records; a file never makes anybody wait."""
        del timeout_s
        if self.done:
            return []
        found: list[Record] = []
        try:
            lines = list(islice(self._lines, max_records))
            for line in lines:
                record = record_of(self.topic, self.p, line)
                if self.next <= record.offset < self.end:
                    found.append(record)
                    self.next = record.offset + 1
        except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error) as error:
            raise UsageError(
                f"archive, {self.topic}[{self.p}] behind {self.next}: unreadable ({error})"
            ) from error
        except zstandard.ZstdError as error:
            raise UsageError(
                f"archive, {self.topic}[{self.p}] behind {self.next}: unreadable ({error})"
            ) from error
        if len(lines) < max_records or self.next >= self.end:
            self.next, self.done = self.end, True
        return found

    def close(self) -> None:
        close = getattr(self._lines, "close", None)
        if close is not None:
            close()
        self.done = True
