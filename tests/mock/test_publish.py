"""`leidan campaign publish` on the embedded broker: a plan, the record, and what is refused."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from streams.cli import run
from streams.demo.reading import Reader
from streams.traffic import rfc3339
from tests import builders

if TYPE_CHECKING:
    from pathlib import Path

    from streams.broker.embedded import EmbeddedBroker


class Said(NamedTuple):
    code: int
    out: str
    err: str


class Desk:
    """Somebody with files, a broker and this verb."""

    def __init__(
        self, broker: EmbeddedBroker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.bootstrap, self._path, self._capsys = broker.bootstrap, tmp_path, capsys

    def publish(self, *records: dict[str, Any], flags: tuple[str, ...] = ("--execute",)) -> Said:
        path = self._path / "records.ndjson"
        path.write_text("\n".join(map(json.dumps, records)))
        where = ("--bootstrap-servers", self.bootstrap)
        try:
            code = run(["campaign", "publish", str(path), *where, *flags])
        except SystemExit as ended:
            code = int(ended.code or 0)
        return Said(code, *self._capsys.readouterr())

    def on_topic(self) -> list[tuple[bytes, dict[str, Any]]]:
        with Reader(self.bootstrap) as reader:
            found = list(reader.all_of(["campaigns"]))
        return [(one.key, json.loads(one.value)) for one in found]


@pytest.fixture
def desk(broker: EmbeddedBroker, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(broker, tmp_path, capsys)


def soon(seconds: int = 90) -> str:
    return rfc3339(int(time.time() + seconds) * 1_000)


def test_a_plan_writes_nothing_and_what_is_published_is_the_record_as_it_was_given(desk: Desk):
    given = builders.campaign(effective_from=soon())
    planned = desk.publish(given, flags=())
    assert (planned.code, desk.on_topic()) == (0, [])
    assert "nothing was written; add --execute" in planned.err
    assert planned.out.startswith("three version 1: 3 orders")
    done = desk.publish(given, flags=("--execute", "--json"))
    assert json.loads(done.out) == {"published": ["three version 1"], "already_there": []}
    assert desk.on_topic() == [(b"three", given)]


def test_what_is_there_already_is_not_written_again(desk: Desk):
    first, second = (builders.campaign(version=n, effective_from=soon(80 + n)) for n in (1, 2))
    assert desk.publish(first).code == 0
    again = desk.publish(first, second)
    assert again.code == 0
    assert "three version 1: is there already" in again.err
    assert [one["version"] for _, one in desk.on_topic()] == [1, 2]


@pytest.mark.parametrize(
    ("records", "problem"),
    [
        (lambda: [builders.campaign(effective_from=soon(30))], "must lie 60 s after its record"),
        (lambda: [builders.campaign(version=2, effective_from=soon())], "version 2 must follow 0"),
        (
            lambda: [builders.change("pool.closed", pool_id="wheel", effective_from=soon())],
            "pool wheel: is unknown",
        ),
        (
            lambda: [builders.campaign(effective_from=soon(90 + n)) for n in (0, 5)],
            "version 1 must follow 1",
        ),
    ],
    ids=["too soon", "a version left out", "a pool nobody knows", "the second of two"],
)
def test_one_that_workers_would_refuse_stops_all_of_them(desk: Desk, records, problem):
    said = desk.publish(*records())
    assert said.code == 2
    assert problem in said.err
    assert "Traceback" not in said.err
    assert desk.on_topic() == []
