"""`leidan whatif` as it is typed: over a broker's topics and over files, with its exit codes."""

from __future__ import annotations

import gzip
import json
from itertools import islice
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from confluent_kafka.admin import AdminClient

from streams import topics
from streams.broker.embedded import EmbeddedBroker
from streams.demo.reading import Reader
from streams.demo.sending import send
from streams.replay.past import KafkaPast, Records
from streams.traffic import Traffic
from streams.wire.campaigns import read_file
from tests.cli.conftest import SAMPLES, leidan, require_one_clear_message
from tests.mock.conftest import counts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SAMPLE = SAMPLES / "grocery-3.json"
SCHEMA = json.loads((topics.schemas_dir() / "cli" / "whatif.schema.json").read_text())
LOG = list(Traffic(7, 40, 400, ("dup", "late", "poison")))


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker().start(counts(3)) as started:
        send(started.bootstrap, LOG)
        yield started


def changed(path: Path, **fields: Any) -> Path:
    definition = json.loads(SAMPLE.read_text())
    for name, value in fields.items():
        definition[name] = {**definition[name], **value} if isinstance(value, dict) else value
    file = path / "new.json"
    file.write_text(json.dumps(definition))
    return file


def whatif(broker: EmbeddedBroker, file: Path, *more: object) -> Any:
    where = ("--bootstrap-servers", broker.bootstrap, "--campaigns", SAMPLE)
    return leidan("whatif", *where, "--campaign", file, *more)


def test_the_same_rules_end_with_0_and_other_ones_with_1(broker, tmp_path):
    same = whatif(broker, SAMPLE, "--json")
    assert same.code == 0, same.err
    assert json.loads(same.out)["different"] is False
    html = tmp_path / "report.html"
    file = changed(tmp_path, qualify={"min_amount_minor": 4000})
    other = whatif(broker, file, "--json", "--html", html)
    assert other.code == 1, other.err
    told = json.loads(other.out)
    jsonschema.validate(told, SCHEMA)
    assert told["different"] is True
    assert told["total"][0]["difference"]["rewards"] < 0
    assert any("Behaviour is held fixed" in note for note in told["notes"])
    assert f"{told['total'][0]['would']['minor']:,}" in html.read_text()


@pytest.mark.parametrize("format_", ["ndjson", "gzip", "zstd"])
def test_an_archive_of_the_log_says_the_same_as_the_broker(broker, tmp_path, format_):
    where = ("--bootstrap-servers", broker.bootstrap, "--set", "embedded=true")
    archive = tmp_path / "archive"
    ran = leidan("export", archive, "--format", format_, *where)
    assert ran.code == 0, ran.err
    file = changed(tmp_path, qualify={"min_amount_minor": 4000})
    given = ("--campaigns", SAMPLE, "--campaign", file, "--json")
    filed = leidan("whatif", "--archive", archive, *given)
    assert filed.code == 1, filed.err
    assert json.loads(filed.out) == json.loads(whatif(broker, file, "--json").out)
    spoilt = next(archive.glob("orders-1.*"))
    spoilt.write_bytes(spoilt.read_bytes()[:-1] + b"x")
    ran = leidan("whatif", "--archive", archive, *given)
    assert (ran.code, ran.out) == (2, "")
    assert f"{spoilt}: damaged" in ran.err


def test_without_json_it_is_tables_and_says_what_they_rest_on(broker, tmp_path):
    ran = whatif(broker, changed(tmp_path, qualify={"min_amount_minor": 4000}), "--since", "30d")
    assert ran.code == 1, ran.err
    for title in ("in all", "by day", "by step", "by segment", "winners: ", "losers: "):
        assert f"\n{title}" in ran.out
    assert ran.out.endswith("different\n")
    assert "Behaviour is held fixed" in ran.err
    assert "\x1b" not in ran.out + ran.err


def test_the_brokers_log_is_the_one_that_was_sent_and_its_end_is_frozen(broker):
    known = read_file(SAMPLE)
    at_hand = Records(LOG, known)
    with KafkaPast(broker.bootstrap, from_files=known) as past:
        assert past.newest_ms() == at_hand.newest_ms()
        send(broker.bootstrap, [("claims", b"later", b"{}", at_hand.newest_ms())])
        read = list(past.records(past.partitions))
    assert len(read) == len(LOG) == past.total
    assert sorted(map(told, read)) == sorted(map(told, at_hand.records([0])))
    for topic in ("orders", "claims", "cancellations"):
        for p in range(3):
            offsets = [r.offset for r in read if (r.topic, r.partition) == (topic, p)]
            assert offsets == list(range(len(offsets)))


def told(record: Any) -> tuple[Any, ...]:
    return (record.recorded_at_ms, record.topic, record.key or b"", record.value)


def test_it_leaves_no_group_and_no_record_behind(broker):
    with Reader(broker.bootstrap) as reader:
        written = {topic for topic in topics.registry() if any(reader.all_of([topic]))}
    assert written == {"orders", "claims", "cancellations"}
    groups = AdminClient({"bootstrap.servers": broker.bootstrap}).list_consumer_groups()
    assert groups.result(10).valid == []


def test_the_first_weeks_of_the_real_year_with_their_own_sample_are_no_difference(
    real_year, tmp_path
):
    for name in ("orders.ndjson.gz", "cancellations.ndjson.gz"):
        with gzip.open(real_year / name) as whole, gzip.open(tmp_path / name, "w") as few:
            few.writelines(islice(whole, 1_500))
    sample = SAMPLES / "retail-every-3.json"
    ran = leidan("whatif", "--data", tmp_path, "--campaign", sample, "--json")
    assert ran.code == 0, ran.err
    (total,) = json.loads(ran.out)["total"]
    assert total["difference"] == {"minor": 0, "rewards": 0}
    assert total["was"]["rewards"] > 10


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--campaign", SAMPLE), 2),
        (("--campaign", SAMPLE, "--data", "/nowhere"), 2),
        (("--campaign", SAMPLE, "--archive", "/nowhere"), 2),
        (("--campaign", SAMPLE, "--archive", "/nowhere", "--data", "/nowhere"), 2),
        (("--campaign", SAMPLE, "--bootstrap-servers", "127.0.0.1:1", "--since", "soon"), 2),
        (("--campaign", "/nowhere.json", "--bootstrap-servers", "127.0.0.1:1"), 2),
        (("--campaign", SAMPLE, "--bootstrap-servers", "127.0.0.1:1", "--html", "/no/where"), 2),
        (("--campaign", SAMPLE, "--bootstrap-servers", "127.0.0.1:1"), 4),
    ],
)
def test_what_a_person_can_get_wrong_is_one_clear_message(arguments, code):
    ran = leidan("whatif", *arguments)
    assert ran.code == code, ran.err
    require_one_clear_message(ran)


def test_topics_that_are_not_there_are_named(broker):
    ran = leidan(
        "whatif", "--campaign", SAMPLE, "--bootstrap-servers", broker.bootstrap,
        "--topic-prefix", "other-",
    )  # fmt: skip
    assert ran.code == 78
    assert "other-orders" in ran.err
