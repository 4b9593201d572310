"""What the topic's records do to the registry; a refused definition changes nothing."""

from __future__ import annotations

from pathlib import Path

import orjson

from streams.errors import Reason
from streams.feed.campaigns import Registry
from streams.position import Position
from streams.wire.campaigns import read_file

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
