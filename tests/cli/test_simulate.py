"""`leidan simulate --out`: the same seed is the same file, and nothing is lost on the way."""

from __future__ import annotations

import base64
import json
from collections import Counter

from tests.cli.conftest import SAMPLES, leidan

ALL_CHAOS = ("--chaos", "dup,late,reorder,poison")


def lines(*arguments: object) -> list[dict]:
    ran = leidan("simulate", "--out", "-", "--users", 40, *arguments)
    assert ran.code == 0, ran.err
    return [json.loads(line) for line in ran.out.splitlines()]


def test_same_seed_same_bytes_and_another_seed_other_users():
    once = leidan("simulate", "--out", "-", "--orders", 300, "--seed", 5, *ALL_CHAOS)
    again = leidan("simulate", "--out", "-", "--orders", 300, "--seed", 5, *ALL_CHAOS)
    other = leidan("simulate", "--out", "-", "--orders", 300, "--seed", 6, *ALL_CHAOS)
    assert once.out == again.out != other.out


def test_every_topic_gets_its_records_keyed_by_user():
    records = lines("--orders", 300)
    assert {record["topic"] for record in records} == {"orders", "claims", "cancellations"}
    for record in records:
        assert json.loads(record["value"])["user_id"] == record["key"]


def test_as_json_it_says_how_many_of_each_topic_stand_in_the_file(tmp_path):
    path = tmp_path / "traffic.ndjson"
    ran = leidan("simulate", "--out", path, "--orders", 300, "--users", 40, "--json")
    written = Counter(json.loads(line)["topic"] for line in path.read_text().splitlines())
    assert json.loads(ran.out) == {"sent": written}
    assert leidan("simulate", "--out", "-", "--json").code == 2, "stdout cannot hold both"


def test_bytes_that_are_no_text_survive_as_base64():
    poisoned = [line for line in lines("--orders", 2_000, *ALL_CHAOS) if "value_base64" in line]
    assert poisoned
    for line in poisoned:
        value = base64.b64decode(line["value_base64"])
        assert value != value.decode(errors="replace").encode()


def test_a_campaign_decides_what_is_claimed_and_in_which_currency(tmp_path):
    definition = json.loads((SAMPLES / "grocery-3.json").read_text())
    definition |= {"campaign_id": "mine", "currency": "EUR"}
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(definition))
    values = [json.loads(line["value"]) for line in lines("--orders", 300, "--campaign", path)]
    claimed = {value["campaign_id"] for value in values if "campaign_id" in value}
    assert "mine" in claimed
    assert "grocery-3" not in claimed
    assert {value["currency"] for value in values if "currency" in value} == {"EUR"}
