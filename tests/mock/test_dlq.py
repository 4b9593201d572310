"""`leidan dlq` on the embedded broker: what is chosen, shown, put back, dropped, and said of it."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, NamedTuple

import pytest
from confluent_kafka import Producer

from streams.cli import run
from streams.demo.reading import Reader
from streams.errors import Reason
from streams.feed.batch import dead_letter
from streams.feed.ports import Record
from streams.wire import dead_letters
from tests.cli.conftest import leidan, require_one_clear_message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.broker.embedded import EmbeddedBroker

MARCH_MS = 1_772_000_000_000  # when shops sent them; letters are written now
WHO = ("--who", "ops", "--why", "mended in 0.2")


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self.out.splitlines()]


class Place:
    """A broker with refused orders on it: each on its topic, and its letter on `dead-letters`."""

    def __init__(self, broker: EmbeddedBroker, capsys: pytest.CaptureFixture[str]) -> None:
        self.bootstrap, self._capsys = broker.bootstrap, capsys

    def dlq(self, *arguments: object) -> Said:
        try:
            code = run(["dlq", *map(str, arguments), "--bootstrap-servers", self.bootstrap])
        except SystemExit as ended:
            code = int(ended.code or 0)
        return Said(code, *self._capsys.readouterr())

    def send(self, records: Sequence[tuple]) -> list[int]:
        """Send (topic, partition, key, value, headers, timestamp); return their offsets."""
        producer = Producer({"bootstrap.servers": self.bootstrap, "linger.ms": 0})
        at: list[int] = []
        for topic, p, key, value, headers, at_ms in records:
            producer.produce(
                topic, value, key, p, lambda _e, m: at.append(m.offset()), None, at_ms, headers
            )
            producer.flush(10)  # one after the other: the offsets are those of this order
        return at

    def refuse(
        self, user: str, reason: Reason = Reason.UNKNOWN_TYPE, *, p: int = 0, **dialects: object
    ) -> Record:
        """One order that a worker refused."""
        value = json.dumps({"type": "order.later", "user_id": user}).encode()
        headers = [("traceparent", b"00-1"), ("empty", b"")]
        key = user.encode()
        (offset,) = self.send([("orders", p, key, value, headers, MARCH_MS)])
        record = Record("orders", p, offset, key, value, headers, MARCH_MS)
        letter = dead_letter(record, reason, "order.later", **dialects)
        self.send([("dead-letters", p, key, value, letter.headers, 0)])
        return record

    def all_of(self, topic: str) -> list:
        with Reader(self.bootstrap) as reader:
            return list(reader.all_of([topic]))


@pytest.fixture
def place(broker: EmbeddedBroker, capsys: pytest.CaptureFixture[str]) -> Place:
    return Place(broker, capsys)


@pytest.fixture
def three(place: Place) -> Place:
    """Given two refusals of u-1 for one reason, and one of u-2 for another, on partition 1."""
    place.refuse("u-1")
    place.refuse("u-1")
    place.refuse("u-2", Reason.SCHEMA, p=1)
    return place


def test_listed_each_with_its_reason_place_origin_and_user(three):
    ran = three.dlq("list", "--json")
    assert ran.code == 0
    found = {one["letter"]: one for one in ran.lines}
    assert sorted(found) == ["0@0", "0@1", "1@0"]
    assert found["1@0"]["origin"] == {"topic": "orders", "partition": 1, "offset": 0}
    said = [found["1@0"][name] for name in ("state", "reason", "detail", "user_id", "attempt")]
    assert said == ["open", "schema", "order.later", "u-2", 1]


@pytest.mark.parametrize(
    ("flags", "letters"),
    [
        (("--reason", "schema"), ["1@0"]),
        (("--reason", "schema", "--reason", "unknown_type"), ["0@0", "0@1", "1@0"]),
        (("--user", "u-1"), ["0@0", "0@1"]),
        (("--user", "u-1", "--reason", "schema"), []),
        (("--topic", "claims"), []),
        (("--topic", "orders"), ["0@0", "0@1", "1@0"]),
        (("--since", "1h"), ["0@0", "0@1", "1@0"]),
        (("--until", "1h"), []),
        (("--until", "2026-01-01T00:00:00+00:00"), []),
        (("--limit", "2"), ["0@0", "0@1"]),
    ],
    ids=range(10),
)
def test_chosen_by_reason_user_topic_and_time(three, flags, letters):
    found = [one["letter"] for one in three.dlq("list", "--json", *flags).lines]
    if flags[0] == "--limit":
        assert len(found) == len(letters)
    else:
        assert sorted(found) == letters


def test_counted_by_reason(three):
    ran = three.dlq("list", "--by", "reason")
    assert ran.out.split() == ["2", "unknown_type", "1", "schema"]
    (counted,) = three.dlq("list", "--by", "user", "--json").lines
    assert counted == {"by": "user", "counts": {"u-1": 2, "u-2": 1}, "total": 3}


def test_letters_of_kafka_connect_spring_and_kafka_streams_are_read(place):
    headers = {
        "connect": [
            ("__connect.errors.topic", b"orders"),
            ("__connect.errors.partition", b"1"),
            ("__connect.errors.offset", b"7"),
            ("__connect.errors.exception.class.name", b"org.apache.kafka.DataException"),
            ("__connect.errors.exception.message", b"no converter"),
        ],
        "spring": [
            ("kafka_dlt-original-topic", b"orders"),
            ("kafka_dlt-original-partition", struct.pack(">i", 1)),
            ("kafka_dlt-original-offset", struct.pack(">q", 7)),
            ("kafka_dlt-exception-fqcn", b"org.springframework.kafka.ListenerException"),
            ("kafka_dlt-exception-cause-fqcn", b"org.apache.kafka.DataException"),
            ("kafka_dlt-exception-message", b"no converter"),
        ],
        "streams": [
            ("__streams.errors.topic", b"orders"),
            ("__streams.errors.partition", b"1"),
            ("__streams.errors.offset", b"7"),
            ("__streams.errors.exception", b"org.apache.kafka.DataException"),
            ("__streams.errors.message", b"no converter"),
        ],
    }
    place.send([("dead-letters", 0, b"u", b"{", each, 0) for each in headers.values()])
    found = place.dlq("list", "--json", "--reason", "org.apache.kafka.DataException").lines
    assert [one["headers_of"] for one in found] == ["connect", "spring", "streams"]
    for one in found:
        assert one["origin"] == {"topic": "orders", "partition": 1, "offset": 7}
        assert one["detail"] == "no converter"


def test_a_letter_is_shown_with_its_own_headers_alone_and_its_bytes(three):
    ran = three.dlq("show", "0@1", "--json")
    (told,) = ran.lines
    assert ran.code == 0
    assert [header["name"] for header in told["headers"]] == ["traceparent", "empty"]
    assert json.loads(told["value"]["text"])["user_id"] == "u-1"
    assert bytes.fromhex(told["key"]["hex"]) == b"u-1"
    text = three.dlq("show", "0@1").out
    assert "header traceparent: 00-1" in text
    assert "  000000  7b 22" in text, "the bytes, as hex"


def test_bytes_of_a_letter_cannot_move_a_terminal(place):
    place.send(
        [("dead-letters", 0, b"\x1b[2J", b"\x1b]0;mine\x07\xff", [("dl-detail", b"\x1b")], 0)]
    )
    for verb in (("list",), ("show", "0@0")):
        assert "\x1b" not in place.dlq(*verb).out


def test_without_execute_nothing_is_written_and_the_plan_says_what_would_be(three):
    ran = three.dlq("replay", "--all", "--json")
    (told,) = ran.lines
    assert (ran.code, told["would_replay"], told["by_topic"]) == (0, 3, {"orders": 3})
    assert "--execute" in ran.err
    assert len(three.all_of("orders")) == 3
    assert three.all_of("dead-letter-decisions") == []


def test_a_record_goes_back_as_it_was_with_its_own_time_and_the_next_attempt(place):
    record = place.refuse("u-1", p=1)
    ran = place.dlq("replay", "1@0", "--execute", *WHO)
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "1 replayed, 0 left out")
    first, again = place.all_of("orders")
    assert (again.key, again.value, again.partition) == (record.key, record.value, 1)
    assert first.timestamp_ms == again.timestamp_ms == MARCH_MS
    assert again.headers == [*record.headers, ("dl-attempt", b"2"), ("dl-replay-of", b"1@0")]
    (decision,) = place.all_of("dead-letter-decisions")
    said = json.loads(decision.value)
    assert (said["type"], said["who"], said["why"]) == (
        "dead-letter.replayed", "ops", "mended in 0.2",
    )  # fmt: skip


def test_replayed_again_nothing_goes_back_twice(three):
    assert three.dlq("replay", "--all", "--execute").code == 0
    ran = three.dlq("replay", "--all", "--execute", "--json")
    assert ran.code == 0, ran.err
    assert ran.lines[0]["replayed"] == 0
    assert len(three.all_of("orders")) == 6
    assert three.dlq("list", "--json").out == ""
    assert len(three.dlq("list", "--state", "replayed", "--json").lines) == 3


def test_a_limit_takes_the_first_and_the_next_run_the_rest_in_their_order(three):
    assert three.dlq("replay", "--all", "--execute", "--limit", 1).code == 0
    assert three.dlq("replay", "--all", "--execute", "--rate", 100).code == 0
    back = [r for r in three.all_of("orders") if r.offset >= 2 or (r.partition and r.offset)]
    assert [dict(r.headers)["dl-replay-of"] for r in back if r.partition == 0] == [b"0@0", b"0@1"]
    assert len(back) == 3


def test_refused_again_it_is_a_letter_of_its_own_and_the_attempts_are_capped(place):
    place.refuse("u-1")
    place.dlq("replay", "--all", "--execute")
    again = place.all_of("orders")[-1]
    record = Record("orders", 0, again.offset, again.key, again.value, again.headers, MARCH_MS)
    letter = dead_letter(record, Reason.UNKNOWN_TYPE, "")
    place.send([("dead-letters", 0, letter.key, letter.value, letter.headers, 0)])
    (told,) = place.dlq("list", "--json").lines
    assert (told["letter"], told["attempt"]) == ("0@1", 2)
    ran = place.dlq("replay", "--all", "--max-attempts", 2, "--json")
    assert (ran.code, ran.lines[0]["would_replay"]) == (1, 0)
    assert "tried 2 times" in ran.lines[0]["left_out"][0]["because"]
    place.dlq("replay", "--all", "--execute")
    attempts = [v for n, v in place.all_of("orders")[-1].headers if n == "dl-attempt"]
    assert attempts == [b"3"], "one header, not one a try"


def test_a_letter_that_is_forged_or_names_nothing_is_left_out_and_said_so(place):
    place.refuse("u-1")
    forged = dead_letter(Record("orders", 0, 0, b"u-9", b"{}", [], 0), Reason.SCHEMA, "")
    gone = dead_letter(Record("orders", 0, 99, b"u-9", b"{}", [], 0), Reason.SCHEMA, "")
    inner = dead_letter(Record("rewards", 0, 0, b"u-9", b"{}", [], 0), Reason.SCHEMA, "")
    letters = [forged.headers, gone.headers, inner.headers, [("anything", b"x")]]
    place.send([("dead-letters", 0, b"u-9", b"{}", headers, 0) for headers in letters])
    ran = place.dlq("replay", "--user", "u-9", "--execute", "--json")
    assert (ran.code, ran.lines[0]["replayed"]) == (1, 0)
    because = {one["letter"]: one["because"] for one in ran.lines[0]["left_out"]}
    assert "holds another record" in because["0@1"]
    assert "not there any more" in because["0@2"]
    assert "no worker folds rewards" in because["0@3"]
    assert "name no record" in because["0@4"]
    assert len(place.all_of("orders")) == 1


def test_a_letter_that_somebody_doubled_is_replayed_once(place):
    record = place.refuse("u-1")
    twin = dead_letter(record, Reason.UNKNOWN_TYPE, "")
    place.send([("dead-letters", 1, twin.key, twin.value, twin.headers, 0)])
    ran = place.dlq("replay", "--all", "--execute", "--json")
    assert ran.lines[0]["replayed"] == 1
    assert len(place.all_of("orders")) == 2
    assert place.dlq("list").out == "", "the twin is about a record that went back"


def test_dropped_by_somebody_for_a_reason_and_taken_back(three):
    ran = three.dlq("drop", "--reason", "schema", "--execute", "--json", *WHO)
    assert (ran.code, ran.lines[0]["dropped"]) == (0, 1)
    (told,) = three.dlq("list", "--state", "dropped", "--json").lines
    assert (told["letter"], told["decision"]["who"]) == ("1@0", "ops")
    assert three.dlq("replay", "1@0", "--json").lines[0]["would_replay"] == 0
    ran = three.dlq("replay", "1@0", "--also-dropped", "--execute")
    assert (ran.code, three.dlq("list", "--state", "replayed", "--by", "state").out.split()) == (
        0, ["1", "replayed"],
    )  # fmt: skip
    assert len(three.all_of("dead-letter-decisions")) == 2


def test_a_topic_named_by_another_tool_has_the_prefix_and_is_known_without():
    headers = [("__streams.errors.topic", b"eu-orders"), ("__streams.errors.offset", b"3")]
    headers.append(("__streams.errors.partition", b"0"))
    letter = dead_letters.read(Record("dead-letters", 0, 0, b"u", b"{", headers, 0), "eu-")
    assert letter.origin == ("orders", 0, 3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("replay", "say which letters"),
        ("replay --all --reason schema", "say which letters"),
        ("drop --all --who me --why", "requires an argument"),
        ("drop --all --why because", "--who"),
        ("drop --all --who me --why=", "say why"),
        ("list --reason shema", "did you mean schema?"),
        ("list --since yesterday", "neither like 30d"),
        ("show 17", "PARTITION@OFFSET"),
        ("replay --all --rate 0", "--rate"),
    ],
)
def test_wrong_usage_ends_with_2(arguments, said):
    ran = leidan("dlq", *arguments.split())
    assert ran.code == 2, ran.err
    require_one_clear_message(ran)
    assert said in ran.err


def test_a_letter_that_is_not_there_ends_with_1_and_missing_topics_with_78(place: Place) -> None:
    assert place.dlq("show", "0@5").code == 1
    assert place.dlq("show", "7@0").code == 1
    ran = place.dlq("list", "--topic-prefix", "other-")
    assert ran.code == 78
    assert "leidan topics apply --execute" in ran.err
