"""Poison of every kind, as `simulate --chaos poison` sends it, and real data as it comes."""

from collections import Counter
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from streams.errors import EventRejected
from streams.feed.ports import Record
from streams.retail import load
from streams.traffic import POISON_KINDS, Traffic, poison
from tests.wire.examples import DECODERS

REAL = Path(__file__).parents[3] / "shared" / "data" / "online-retail-2010"


def outcome(sent):
    topic, key, value, timestamp_ms = sent
    try:
        return DECODERS[topic](Record(topic, 0, 0, key, value, [], timestamp_ms))
    except EventRejected as refused:
        return str(refused.reason)


@pytest.mark.parametrize("kind", POISON_KINDS)
@settings(max_examples=30)
@given(rng=st.randoms(use_true_random=False))
def test_poison_dies_of_its_own_reason(kind, rng):
    assert outcome(poison(kind, rng)) == POISON_KINDS[kind]


def test_all_traffic_decodes_but_for_the_poison_in_it():
    calm = [outcome(sent) for sent in Traffic(seed=7, users=50, orders=500)]
    chaos = Traffic(seed=7, users=50, orders=500, chaos=("dup", "late", "reorder", "poison"))
    rough = [outcome(sent) for sent in chaos]
    assert not [got for got in calm if isinstance(got, str)]
    dead = [got for got in rough if isinstance(got, str)]
    assert dead
    assert {got.user_id for got in rough if not isinstance(got, str)} == {e.user_id for e in calm}


@pytest.mark.skipif(not REAL.is_dir(), reason="no ../shared/data/online-retail-2010")
def test_a_real_year_decodes_but_for_its_guests():
    outcomes = Counter()
    for sent in load(REAL):
        got = outcome(sent)
        outcomes[sent[0], got if isinstance(got, str) else "decoded"] += 1
    assert outcomes["orders", "no_user"] == 2_885
    assert outcomes["orders", "decoded"] == 22_100 - 2_885
    assert {why for _, why in outcomes} == {"decoded", "no_user"}
