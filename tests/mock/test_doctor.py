"""`leidan doctor` on this machine and the embedded broker: what it sees, and what to do next."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer

from streams.broker.embedded import EmbeddedBroker
from streams.cli import run
from streams.doctor import machine
from streams.errors import Reason
from streams.feed.batch import dead_letter
from streams.feed.ports import Record
from tests.cli.conftest import SAMPLES
from tests.mock.conftest import counts

if TYPE_CHECKING:
    from collections.abc import Callable

NOBODY = "127.0.0.1:1"


@pytest.fixture
def doctor(capsys, tmp_path) -> Callable[..., tuple[int, dict[str, dict[str, str]]]]:
    def ask(*flags: object) -> tuple[int, dict[str, dict[str, str]]]:
        state = () if "--state-dir" in flags else ("--state-dir", str(tmp_path))
        try:
            code = run(["doctor", "--json", *state, *map(str, flags)])
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = capsys.readouterr()
        assert out, err
        return code, {one["check"]: one for one in json.loads(out)["checks"]}

    return ask


def on(broker: EmbeddedBroker) -> tuple[str, ...]:
    return ("--bootstrap-servers", broker.bootstrap, "--set", "embedded=true")


def test_all_is_well_ends_with_0(doctor, broker):
    code, found = doctor(*on(broker), "--campaigns", SAMPLES / "grocery-3.json")
    assert code == 0
    assert list(found) == [
        "versions", "native", "state", "disk", "campaigns",
        "broker", "topics", "group", "lag", "clock", "dead",
    ]  # fmt: skip
    assert {one["state"] for name, one in found.items() if name not in {"native", "disk"}} == {"ok"}
    assert found["campaigns"]["found"] == "1 definitions of 1 files are clear"


def test_whatever_is_not_ok_says_what_to_do_next(doctor, tmp_path):
    tmp_path.joinpath("file").write_text("")
    spoilt = tmp_path / "spoilt.json"
    spoilt.write_text('{"type": "campaign.defined"}')
    code, found = doctor(
        "--state-dir", tmp_path / "file", "--campaigns", spoilt, "--bootstrap-servers", NOBODY
    )
    assert code == 1
    assert [name for name, one in found.items() if one["state"] == "fail"] == [
        "state", "campaigns", "broker",
    ]  # fmt: skip
    assert all(one["next"] for one in found.values() if one["state"] != "ok")
    assert found["campaigns"]["next"] == f"leidan campaign validate {spoilt}"
    assert NOBODY in found["broker"]["found"]
    assert "topics" not in found, "nothing is said of what was not looked at"


def test_missing_topics_fail_with_the_command_that_makes_them(doctor):
    with EmbeddedBroker().start({"orders": 2}) as bare:
        code, found = doctor(*on(bare))
    assert code == 1
    assert "leidan topics apply" in found["topics"]["next"]


def test_topics_of_unequal_partitions_fail(doctor):
    with EmbeddedBroker().start(counts() | {"claims": 3}) as uneven:
        code, found = doctor(*on(uneven))
    assert (code, found["topics"]["state"]) == (1, "fail")
    assert "unequal" in found["topics"]["found"]


def test_dead_letters_of_the_last_day_are_counted_by_reason(doctor, broker):
    letter = dead_letter(Record("orders", 0, 0, b"u", b"{", [], 0), Reason.NOT_JSON, "")
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for _ in range(3):
        producer.produce("dead-letters", letter.value, letter.key, 0, headers=letter.headers)
    assert producer.flush(10) == 0
    code, found = doctor(*on(broker))
    assert (code, found["dead"]["state"]) == (0, "warn")
    assert found["dead"]["found"].endswith("3 not_json")
    assert "leidan dlq list" in found["dead"]["next"]


def test_records_that_nobody_folds_are_said_by_the_age_of_the_oldest(doctor, broker):
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    producer.produce("orders", b"{}", b"u", 0, timestamp=1_772_000_000_000)
    assert producer.flush(10) == 0
    code, found = doctor(*on(broker))
    assert (code, found["lag"]["state"]) == (0, "warn")
    assert found["lag"]["found"].startswith("1 offsets not folded, the oldest record")


@pytest.mark.parametrize(
    ("free", "state"), [(machine.FAIL_BYTES - 1, "fail"), (machine.WARN_BYTES - 1, "warn"),
                        (machine.WARN_BYTES, "ok")]
)  # fmt: skip
def test_a_disk_that_fills_up(doctor, monkeypatch, free, state):
    usage = type(machine.shutil.disk_usage("/"))(1 << 40, (1 << 40) - free, free)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _path: usage)
    code, found = doctor("--offline")
    assert found["disk"]["state"] == state
    assert code == (1 if state == "fail" else 0)


def test_as_text_a_line_for_each_and_what_to_do_behind_it(capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        run(["doctor", "--state-dir", str(tmp_path), "--bootstrap-servers", NOBODY])
    out, err = capsys.readouterr()
    assert ended.value.code == 1
    lines = out.splitlines()
    (at,) = [n for n, line in enumerate(lines) if line.startswith("fail  broker")]
    assert lines[at + 1].strip().startswith("next: ")
    assert err.startswith("1 failed, ")
