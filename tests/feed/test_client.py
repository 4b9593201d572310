"""Times of librdkafka that must stand in an order, or a limit elsewhere means nothing."""

from __future__ import annotations

from streams.feed.client import IDLE_MS, SOCKET_TIMEOUT_MS
from streams.feed.loop import COMMIT_LIMIT_S
from streams.feed.producer import CALL_S

JITTER_MS = 2_000  # by so much librdkafka closes idle connections early


def test_no_connection_is_idle_for_too_long_before_a_call_on_it_counts_as_slow() -> None:
    """Else an EndTxn is sent again by a producer that nobody suspects (reliability.md 5.3)."""
    assert IDLE_MS - JITTER_MS > SOCKET_TIMEOUT_MS


def test_a_lost_coordinator_is_looked_for_again_before_the_call_gives_up() -> None:
    assert IDLE_MS < CALL_S * 1_000
    assert 3 * CALL_S < COMMIT_LIMIT_S, "flush, offsets and commit"
