"""No bytes do worse than be refused: a short run for each decoder, and each crash found before.

The long run: `python -m tests.fuzz --inputs 1000000 --seed 1`.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import reduce

import hypothesis.strategies as st
import msgspec
import orjson
import pytest
from hypothesis import given, settings

from streams import retail
from streams import settings as streams_settings
from streams.agents import dead_letters
from streams.cli import campaign as campaign_cli
from streams.cli.json_lines import lines_by_path
from streams.domain import state as states
from streams.domain.definition import campaign_from
from streams.domain.fold import step
from streams.errors import CampaignRefused, DiskError, EventRejected, Reason, UsageError
from streams.feed.crash_notes import CrashNotes
from streams.store import meta
from streams.store.rows import refuse_unless_ours
from streams.wire import campaigns, rows
from streams.wire.envelope import LATEST_MS, MAX_VALUE_BYTES
from tests import builders
from tests.fuzz import __main__ as command
from tests.fuzz import world
from tests.fuzz.mutate import Mutator
from tests.fuzz.run import fuzz
from tests.fuzz.targets import Target, names, targets

INPUTS = {"json-lines": 600, "campaign-files": 1_000, "retail-lines": 1_500, "settings": 1_500}
"""Of the slow ones; they read files. All others:"""
USUAL_INPUTS = 10_000


@pytest.fixture(scope="module")
def every_target(tmp_path_factory) -> dict[str, Target]:
    return targets(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("name", names())
def test_spoilt_bytes_are_accepted_or_refused_and_nothing_else(name, every_target):
    found = fuzz(every_target[name], INPUTS.get(name, USUAL_INPUTS), seed=1)
    assert not found.crashes
    assert found.hangs == 0
    # and the run was one: it came through the door, and was turned away at it, in several ways
    assert found.accepted > found.inputs // 100
    assert len(found.outcomes) > 1


@settings(max_examples=300)
@given(data=st.data(), name=st.sampled_from(names()))
def test_any_bytes_are_accepted_or_refused_and_nothing_else(every_target, data, name):
    target = every_target[name]
    example = data.draw(st.sampled_from(target.examples))
    at = data.draw(st.integers(0, len(example)))
    to = data.draw(st.integers(at, len(example)))
    put = data.draw(st.binary(max_size=20) | st.text(max_size=20).map(lambda t: t.encode()))
    target.judge(example[:at] + put + example[to:])
    target.judge(put)


def test_the_fuzzer_itself_finds_a_crash_a_hang_and_says_where(capsys, monkeypatch, tmp_path):
    def judge(value: bytes) -> tuple[str, bool]:
        if b"\xff" in value:
            raise KeyError("a bug")
        while b"true" in value:
            pass
        return "accepted", True

    monkeypatch.setattr("tests.fuzz.run.HANG_S", 0.02)
    monkeypatch.setattr(command, "targets", lambda _: {"it": Target("it", [b'{"a":1}'], judge)})
    monkeypatch.setattr(command, "names", lambda: ["it"])
    assert command.main(["--inputs", "400", "--json", str(tmp_path / "found.json")]) == 1
    (found,) = json.loads((tmp_path / "found.json").read_bytes())["decoders"]
    assert found["inputs"] == 400
    assert found["crashed"] > found["hangs"] > 0
    assert {crash["at"].split()[1] for crash in found["crashes"]} == {"KeyError", "Hang"}
    assert "ff" in capsys.readouterr().out, "the bytes that did it"


def test_the_same_seed_gives_the_same_inputs():
    def some(seed: int) -> list[bytes]:
        mutator = Mutator(seed, [b'{"a":[1,2,{"b":"c"}]}', b"{}"])
        return [mutator.next() for _ in range(500)]

    assert some(1) == some(1) != some(2)
    assert len(set(some(1))) > 400


# --- what was found -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "at", ["9999-12-31T20:00:00Z", "9999-12-31T12:00:00Z", "3000-01-01T00:00Z"]
)
def test_a_date_at_the_end_of_the_calendar_is_a_dead_letter_and_not_the_end_of_the_worker(at):
    event = builders.order("o1", when=datetime.fromisoformat(at))
    event["recorded_at_ms"] = world.LAST_MS
    with pytest.raises(EventRejected) as refused:
        builders.decoded(event)
    assert refused.value.reason is Reason.SCHEMA


@pytest.mark.parametrize("mode", ["from_claim", "every_n"])
def test_the_last_date_of_all_still_folds_in_the_longest_campaign(mode):
    window = {"days": 1000, "mode": mode} | ({"max_cycles": 1000} if mode == "every_n" else {})
    longest = builders.campaign(window=window, qualify={"daily_cap": 0}, enrolment="auto")
    campaign, problems = campaign_from(longest)
    assert campaign is not None, problems
    registry = world.Campaigns.of([campaign])
    last = datetime.fromtimestamp((LATEST_MS - 1) / 1000, UTC)
    events = [builders.order(f"o{n}", when=last) for n in (1, 2, 3)]
    state = reduce(
        lambda s, e: step(s, builders.decoded(e), registry).state, events, states.new(builders.USER)
    )
    assert state.tasks[0].counted == 3


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"campaign_id": ""}, "campaign_id"),
        ({"currency": ""}, "currency"),
        ({"final_rewards": [{"right_id": "", "type": "points", "value_minor": 1}]}, "right_id"),
        ({"effective_from": "9999-12-31T23:59:59-14:00"}, "effective_from"),
        ({"effective_from": "0001-01-01T00:00:00+14:00"}, "effective_from"),
        ({"window": {"days": 5, "mode": "fixed", "first_day": "9999-12-31"}}, "first_day"),
        ({"window": {"days": 5, "mode": "fixed", "first_day": "0001-01-01"}}, "first_day"),
    ],
)
def test_an_empty_name_or_a_date_beyond_the_calendar_is_a_problem_of_the_definition(changes, path):
    campaign, problems = campaign_from(builders.campaign(**changes))
    assert campaign is None
    assert any(path in problem for problem in problems), problems


def test_a_definition_of_many_megabytes_is_refused_unread():
    value = orjson.dumps(builders.campaign() | {"title": "x" * MAX_VALUE_BYTES})
    with pytest.raises(CampaignRefused, match="larger than"):
        campaigns.decode(value, None)


def test_a_file_of_lists_in_lists_is_refused_by_name(tmp_path):
    path = tmp_path / "deep.json"
    path.write_bytes(b"[" * 300 + b"]" * 300)
    with pytest.raises(CampaignRefused, match="must be an object"):
        campaign_cli.read(path)


def test_the_lines_of_a_file_are_found_in_one_pass():
    many = "[\n" + ",\n".join('{"a": 1}' for _ in range(50_000)) + "\n]"
    assert lines_by_path(many)["[49999].a"] == 50_001
    assert len(lines_by_path("[" * 60_000)) < 2_000, "deeper than any JSON we read"


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x01\x97", b"\x01\xa1\xff", b"\x01\x91" * 900])
def test_a_damaged_row_is_a_matter_of_the_disk_and_never_a_new_user(data):
    with pytest.raises(DiskError, match="damaged"):
        rows.decode_row(builders.USER, data)


DAMAGED = [b"", b"\xff", b'{"\xf0a":1}', b'{"a":' + b"[" * 3_000]


@pytest.mark.parametrize("value", DAMAGED)
def test_a_damaged_meta_is_one_kind_of_error(value):
    for decode in (meta.decode_meta, meta.decode_offsets, meta.decode_identity):
        with pytest.raises(msgspec.DecodeError):
            decode(value)


@pytest.mark.parametrize("value", DAMAGED)
def test_a_damaged_note_or_label_beside_a_database_is_no_traceback(value, tmp_path):
    (tmp_path / "0.crashes.json").write_bytes(value)
    assert not CrashNotes(tmp_path).parked(0, {})
    with pytest.raises(Exception, match="identity") as refused:
        refuse_unless_ours(tmp_path / "0.identity.json", value, world_identity())
    assert type(refused.value).__module__ == "streams.errors"


def world_identity() -> meta.Identity:
    return meta.Identity("leidan", "cluster-1", 0, 4, {"orders": "id-1"}, 1, 1)


@pytest.mark.parametrize(
    "line",
    [
        {"at": "0001-01-01T00:00:00+23:59"},
        {"order_id": ["a list"]},
        {"lines": [{"sku": "s", "qty": 2**62, "unit_price": 2**62}]},
        {"lines": [{"sku": "s", "qty": 10**7 + 1, "unit_price": 1}]},
    ],
)
def test_a_year_with_an_impossible_line_is_refused_with_its_line(line, tmp_path):
    good = {"order_id": "1", "customer_id": "2", "at": "2010-01-01T00:00:00Z", "lines": []}
    years = world_year(tmp_path, orders=[good, good | line])
    with pytest.raises(UsageError, match=r"orders\.ndjson\.gz:2: "):
        list(retail.load(years))


def test_a_return_of_an_order_that_is_no_text_is_refused_with_its_line(tmp_path):
    linked = {"sku": "s", "qty": 1, "unit_price": 1, "order_id": [], "line": 0}
    back = {"cancellation_id": "1", "customer_id": None, "at": "2010-01-01T00:00:00Z"}
    years = world_year(tmp_path, returns=[back | {"lines": [linked]}])
    with pytest.raises(UsageError, match=r"cancellations\.ndjson\.gz:1: "):
        list(retail.load(years))


def world_year(folder, orders=(), returns=()):
    import gzip  # noqa: PLC0415

    for name, lines in ((retail.ORDERS_FILE, orders), (retail.CANCELLATIONS_FILE, returns)):
        (folder / name).write_bytes(gzip.compress(b"\n".join(map(orjson.dumps, lines))))
    return folder


@pytest.mark.parametrize("text", ["a = " + "[" * 2_000, "a = " + "9" * 5_000])
def test_settings_too_deep_or_too_long_to_read_are_refused_by_file(text, tmp_path):
    path = tmp_path / "leidan.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"leidan\.toml"):
        streams_settings.load(path, {}, {})


@pytest.mark.parametrize(
    ("headers", "label"),
    [
        ([("dl-reason", b"schema")], "schema"),
        ([("dl-reason", b"mine"), ("dl-reason", b"schema")], "schema"),
        ({"dl-reason": b"future"}, "future"),
        ([("dl-reason", b"anybody's 1,000,000th label")], dead_letters.UNKNOWN),
        ([("dl-reason", b"\xff")], dead_letters.UNKNOWN),
        ([("dl-reason", None)], dead_letters.UNKNOWN),
        (None, dead_letters.UNKNOWN),
    ],
)
def test_whoever_writes_to_dead_letters_names_no_metric_of_ours(headers, label):
    assert dead_letters.reason_of(headers) == label
