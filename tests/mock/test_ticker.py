"""The writer of ticks on the embedded broker: what it writes, and that a worker lives by it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from streams import topics
from streams.cli import run
from streams.demo.reading import Reader
from streams.demo.sending import send
from streams.ticker import Ticker
from tests.builders import at, claim, millis
from tests.mock.conftest import PARTITIONS
from tests.mock.test_worker import Worker

if TYPE_CHECKING:
    from streams.broker.embedded import EmbeddedBroker


def written(broker: EmbeddedBroker) -> list[tuple[int, str]]:
    with Reader(broker.bootstrap) as reader:
        ticks = list(reader.all_of([topics.TICKS]))
    assert all(tick.key is None for tick in ticks)
    return sorted((tick.partition, json.loads(tick.value)["at"]) for tick in ticks)


def test_a_tick_goes_to_every_partition_and_names_how_far_the_others_are(broker):
    send(broker.bootstrap, [("orders", b"u-1", b"{}", 1)] * 3)
    ticker = Ticker(broker.bootstrap, PARTITIONS, app_id="leidan")
    assert ticker.write(millis(at(3)))
    with Reader(broker.bootstrap) as reader:
        values = [json.loads(tick.value) for tick in reader.all_of([topics.TICKS])]
    assert sorted(value["partition"] for value in values) == [0, 1]
    assert sorted(value["ends"]["orders"] for value in values) == [0, 3]
    assert {name for value in values for name in value["ends"]} == {*topics.FOLDED} - {topics.TICKS}


def test_time_never_goes_back(broker):
    ticker = Ticker(broker.bootstrap, PARTITIONS, app_id="leidan")
    assert ticker.write(millis(at(3)))
    assert not ticker.write(millis(at(3)))
    assert not ticker.write(millis(at(2)))
    assert len(written(broker)) == PARTITIONS


def test_the_verb_writes_one_tick_of_a_given_time_and_none_before_the_last(broker, capsys):
    flags = ["ticks", "--bootstrap-servers", broker.bootstrap, "--at"]
    assert run([*flags, "2026-03-04T00:00:00+08:00", "--json"]) == 0
    assert run([*flags, "2026-03-03T00:00:00+08:00", "--json"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"at": "2026-03-03T16:00:00+00:00", "partitions": PARTITIONS, "written": True},
        {"at": "2026-03-02T16:00:00+00:00", "partitions": PARTITIONS, "written": False},
    ]
    assert written(broker) == [
        (0, "2026-03-03T16:00:00+00:00"), (1, "2026-03-03T16:00:00+00:00"),
    ]  # fmt: skip
    assert run([*flags, "yesterday"]) == 2


def test_a_worker_expires_tasks_when_it_is_told_the_time_and_says_so_once(broker, tmp_path):
    users = [f"u-{n}" for n in range(20)]
    send(broker.bootstrap, [sent(claim(campaign_id="grocery-3"), user) for user in users])
    for moment in ("2026-03-09T00:00:00+08:00", "2026-06-01T00:00:00+08:00"):
        assert run(["ticks", "--bootstrap-servers", broker.bootstrap, "--at", moment]) == 0
    for _ in range(2):
        worker = Worker(broker, tmp_path, exit_when_idle_s=1)
        assert worker.wait() == 0, worker.log.read_text()
    with Reader(broker.bootstrap) as reader:
        said = [json.loads(event.value) for event in reader.all_of([topics.TASK_EVENTS])]
    for type_ in ("task.expired", "task.closed"):
        assert sorted(e["user_id"] for e in said if e["type"] == type_) == sorted(users)


def sent(event, user):
    value = {k: v for k, v in event.items() if k != "recorded_at_ms"} | {"user_id": user}
    return "claims", user.encode(), json.dumps(value).encode(), event["recorded_at_ms"]
