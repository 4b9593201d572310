"""200 users of a real year explained: what is shown is added up again by hand and gives the state.

The sums here are of the files' own numbers and of what the explanation shows; nothing of the
engine's arithmetic is used.
"""

# Seeded dice, repeatable by design.
# ruff: noqa: S311, TID251

from __future__ import annotations

import gzip
import json
import random
from collections import Counter, defaultdict
from datetime import UTC, datetime

import pytest

from streams.domain.fold import step
from streams.domain.registry import Campaigns
from streams.domain.state import STANDING, new, unpack_ledger
from streams.errors import EventRejected
from streams.feed.ports import Record
from streams.position import Position
from streams.replay.explanation import Question, explained
from streams.replay.lookup import DECODE
from streams.replay.story import Told
from streams.retail import load
from streams.wire.campaigns import read_file
from tests.oracle import DATA, oracle
from tests.test_retail import SAMPLE

pytestmark = pytest.mark.skipif(not DATA.exists(), reason=f"needs the shared data set {DATA.name}")

USERS, SEED = 200, 7
EVERY, MINIMUM = 3, 5000


@pytest.fixture(scope="module")
def year():
    """(explanation, row) of each of the users, as a worker would have folded the year."""
    told = defaultdict(list)
    offsets: Counter[str] = Counter()
    for topic, key, value, at_ms in load(DATA):
        record = Record(topic, 0, offsets[topic], key, value, [], at_ms)
        offsets[topic] += 1
        if key is not None:
            told[key.decode()].append(record)
    campaigns = Campaigns.of(read_file(SAMPLE))
    found = {}
    for user in random.Random(SEED).sample(sorted(told), USERS):
        events, row = [], new(user)
        for record in told[user]:
            try:
                event = DECODE[record.topic](record)
            except EventRejected:
                continue
            row = step(row, event, campaigns).state
            events.append(Told(event, Position(*record[:3])))
        report = explained(Question(user, row, events, None, 0, 0), campaigns)
        found[user] = (report, row)
    return found


@pytest.fixture(scope="module")
def files():
    """The orders and what came back of them, straight from the files."""
    orders, back = {}, defaultdict(Counter)
    with gzip.open(DATA / "orders.ndjson.gz", "rt") as lines:
        for row in map(json.loads, lines):
            orders[row["order_id"]] = row
    with gzip.open(DATA / "cancellations.ndjson.gz", "rt") as lines:
        for row in map(json.loads, lines):
            for line in row["lines"]:
                if line["order_id"] and line["qty"] > 0:
                    back[row["customer_id"], line["order_id"]][str(line["line"])] += line["qty"]
    return orders, back


def test_what_is_left_of_each_line_is_what_was_bought_less_what_came_back(year, files):
    orders, back = files
    seen = 0
    for user, (report, _) in year.items():
        for task in report["tasks"]:
            for verdict in task["orders"]:
                ((part,),) = [verdict["parts"]]
                bought = orders[part["order_id"]]["lines"]
                for line in part["lines"]:
                    sold = bought[int(line["line_id"])]
                    assert (line["quantity"], line["unit_minor"]) == (
                        sold["qty"],
                        sold["unit_price"],
                    )
                    units = min(back[user, part["order_id"]][line["line_id"]], sold["qty"])
                    assert line["returned"] == units
                    assert line["left_minor"] == (sold["qty"] - units) * sold["unit_price"]
                    seen += units > 0
    assert seen > 50


def test_the_arithmetic_shown_added_up_again_gives_the_state(year):
    why = Counter()
    for report, row in year.values():
        assert report["differs_from_events"] == []
        assert len(report["tasks"]) == len(row.tasks)
        for task, stood in zip(report["tasks"], row.tasks, strict=True):
            days, counted, total = set(), [], 0
            for verdict in task["orders"]:
                left = sum(
                    line["left_minor"] for part in verdict["parts"] for line in part["lines"]
                )
                units = sum(
                    line["quantity"] - line["returned"]
                    for part in verdict["parts"]
                    for line in part["lines"]
                )
                day = datetime.fromisoformat(verdict["at"]).astimezone(UTC).date()
                good = units > 0 and left >= MINIMUM
                assert verdict["counts"] == (good and day not in days), verdict
                why[verdict["code"]] += 1
                if verdict["counts"]:
                    days.add(day)
                    counted.append(verdict["order_id"])
                    total += left
                    assert (verdict["step"], verdict["accumulated_minor"]) == (len(counted), total)
                    assert verdict["spent_minor"] == left
            assert (len(counted), total) == (stood.counted, stood.accumulated_minor)
            due = [reward for reward in task["rewards"] if reward["due"]]
            assert [reward["rests_on"] for reward in due] == [
                counted[:k] for k in range(EVERY, len(counted) + 1, EVERY)
            ]
            standing = {
                entry.reward_id: entry.value
                for entry in unpack_ledger(row.ledger).values()
                if entry.state in STANDING
            }
            assert {reward["reward_id"]: reward["value_minor"] for reward in due} == standing
    assert why.keys() >= {None, "SPARE", "MIN_AMOUNT", "CANCELLED"}


def test_it_comes_to_what_the_oracle_counts_from_the_files(year):
    outcome = oracle(DATA)
    for user, (report, _) in year.items():
        counted = sum(verdict["counts"] for task in report["tasks"] for verdict in task["orders"])
        due = sum(reward["due"] for task in report["tasks"] for reward in task["rewards"])
        assert counted == outcome.counted.get(user, 0)
        assert due == outcome.rewards.get(user, 0)


def test_every_event_is_there_with_its_position_and_says_what_it_did(year):
    for report, row in year.values():
        events = [event for event in report["events"] if event["type"] != "deadline"]
        assert len(events) == row.facts.count
        assert all(event["offset"] is not None for event in events)
        issued = Counter(
            did["reward_id"]
            for event in report["events"]
            for did in event["did"]
            if did["type"] == "reward.issued"
        )
        revoked = Counter(
            did["reward_id"]
            for event in report["events"]
            for did in event["did"]
            if did["type"] == "reward.revoked"
        )
        stands = {id_ for id_, n in issued.items() if n > revoked[id_]}
        ledger = unpack_ledger(row.ledger).values()
        assert stands == {entry.reward_id for entry in ledger if entry.state in STANDING}
