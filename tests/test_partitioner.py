"""Where a user lives: what only reads must look where librdkafka's producers put it."""

from __future__ import annotations

import ctypes

import hypothesis
from confluent_kafka import cimpl
from hypothesis import strategies as st

from streams.partitioner import partition_of


@hypothesis.given(st.binary(min_size=1, max_size=40), st.integers(1, 10_000))
def test_a_key_lies_where_the_producers_of_the_wheel_put_it(key, partitions):
    theirs = ctypes.CDLL(cimpl.__file__).rd_kafka_msg_partitioner_murmur2
    theirs.restype = ctypes.c_int32
    found = theirs(None, key, ctypes.c_size_t(len(key)), ctypes.c_int32(partitions), None, None)
    assert partition_of(key, partitions) == found
