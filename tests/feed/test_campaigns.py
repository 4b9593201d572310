"""What the topic's records do to the registry; a refused definition changes nothing."""

from __future__ import annotations

import hashlib
from pathlib import Path

import orjson
import pytest

from streams.domain.definition import TYPES, definition_from
from streams.errors import CampaignRefused, Reason, UsageError
from streams.feed.campaigns import Registry
from streams.position import Position
from streams.wire.campaigns import decode, read_file, read_files
from tests import builders

SAMPLE = Path(__file__).resolve().parents[2] / "schemas" / "samples" / "grocery-3.json"
AT = Position("campaigns", 0, 7)
LONG_AGO_MS = 0


def definition(**changes: object) -> bytes:
    return orjson.dumps({**orjson.loads(SAMPLE.read_bytes()), **changes})


def test_a_definition_is_in_force_once_taken():
    registry = Registry([])
    registry.take(definition(), LONG_AGO_MS, AT)
    assert [c.campaign_id for c in registry.campaigns] == ["grocery-3"]


def test_a_definition_less_than_60_s_ahead_of_its_record_is_refused(caplog):
    (campaign,) = read_file(SAMPLE)
    registry = Registry([])
    registry.take(definition(), campaign.effective_from_ms - 59_999, AT)
    assert list(registry.campaigns) == []
    assert registry.refused == {Reason.CAMPAIGN_TOO_SOON: 1}
    assert "campaigns[0]@7" in caplog.text
    registry.take(definition(), campaign.effective_from_ms - 60_000, AT)
    assert len(list(registry.campaigns)) == 1


def test_bytes_that_are_no_definition_are_refused_and_the_reader_lives():
    registry = Registry([])
    for value in (None, b"", b"{", b"[]", definition(target={"orders": 0})):
        registry.take(value, LONG_AGO_MS, AT)
    assert registry.refused == {Reason.CAMPAIGN_INVALID: 5}


def test_a_version_out_of_sequence_is_refused():
    registry = Registry([])
    registry.take(definition(version=2), LONG_AGO_MS, AT)
    assert registry.refused == {Reason.CAMPAIGN_INVALID: 1}


def test_the_same_definition_twice_is_one():
    registry = Registry(read_file(SAMPLE))
    registry.take(definition(), LONG_AGO_MS, AT)
    assert (len(list(registry.campaigns)), registry.refused) == (1, {})


# --- pools, and what changes or ends a definition ------------------------------------------------


RECORDS = (
    builders.pool(),
    builders.shelf(),
    builders.campaign(
        features=["light_box", "full_link", "lottery"],
        lottery=builders.chances(),
        claim=builders.CLOSING,
        budget={"amount_minor": 5000},
    ),
    builders.change("pool.odds_added", pool_id="wheel", odds=builders.odds(2, five=9)),
    builders.change("pool.restocked", pool_id="shelf", stock=[{"right_id": "mug", "units": 5}]),
    builders.change("budget.added", pool_id="budget:three", amount_minor=100),
    builders.change("campaign.stopped", campaign_id="three"),
    builders.change("campaign.killed", campaign_id="three"),
    builders.change("pool.closed", pool_id="wheel"),
)


def test_every_type_of_record_reaches_the_registry_and_a_second_copy_changes_nothing():
    registry = Registry([])
    for _ in range(2):
        for record in RECORDS:
            registry.take(orjson.dumps(record), LONG_AGO_MS, AT)
    known = registry.campaigns
    assert registry.refused == {}
    assert [pool.pool_id for pool in known.pools] == ["wheel", "shelf", "budget:three"]
    assert [len(known.pool_changes(pool.pool_id)) for pool in known.pools] == [2, 1, 1]
    assert known.killed_at("three") is not None


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["type"])
def test_every_type_of_record_must_lie_60_s_ahead(record):
    found, _ = definition_from(record)
    assert found is not None
    with pytest.raises(CampaignRefused) as refused:
        decode(orjson.dumps(record), found.effective_from_ms - 59_999)
    assert refused.value.reason is Reason.CAMPAIGN_TOO_SOON
    assert decode(orjson.dumps(record), found.effective_from_ms - 60_000) == found


def test_a_campaign_before_its_pool_is_refused_and_named(caplog):
    registry = Registry([])
    pool, _, campaign, *_ = RECORDS
    registry.take(orjson.dumps(campaign), LONG_AGO_MS, AT)
    assert registry.refused == {Reason.CAMPAIGN_INVALID: 1}
    assert "campaigns[0]@7: three version 1: pool wheel: is unknown" in caplog.text
    registry.take(orjson.dumps(pool), LONG_AGO_MS, AT)
    registry.take(orjson.dumps(campaign), LONG_AGO_MS, AT)
    assert len(registry.campaigns) == 1


def test_an_unknown_type_is_refused_by_name(caplog):
    registry = Registry([])
    registry.take(orjson.dumps({**RECORDS[0], "type": "pool.define"}), LONG_AGO_MS, AT)
    assert registry.refused == {Reason.CAMPAIGN_INVALID: 1}
    assert "type: 'pool.define' is none of" in caplog.text
    assert "(did you mean pool.defined?)" in caplog.text


def test_a_file_may_hold_pools_campaigns_and_their_changes_one_a_line(tmp_path):
    path = tmp_path / "veg.ndjson"
    path.write_bytes(b"\n".join(map(orjson.dumps, RECORDS)))
    found = read_file(path)
    assert [TYPES[type(one)] for one in found] == [record["type"] for record in RECORDS]
    assert len(Registry(found).campaigns) == 1


def test_files_are_read_in_order_and_a_journal_s_digest_of_them_stays_what_it_was(tmp_path):
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    one.write_bytes(SAMPLE.read_bytes())
    two.write_bytes(b"[]")
    assert read_files([]) == ([], "")
    assert read_files([one, two]) == (read_file(one), by_hand(one, two))
    assert read_files([two, one]) == (read_file(one), by_hand(two, one))
    with pytest.raises(UsageError, match=r"none\.json: No such file"):
        read_files([one, tmp_path / "none.json"])


def by_hand(*paths: Path) -> str:
    each = b"".join(hashlib.sha256(path.read_bytes()).digest() for path in paths)
    return hashlib.sha256(each).hexdigest()[:16]
