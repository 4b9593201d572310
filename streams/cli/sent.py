"""What the verbs that send traffic share: records onto topics, and how many went where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.cli.connection import how_to_connect
from streams.cli.terminal import emit, say

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable

    from streams.demo.sending import Sent


def send(
    records: Iterable[Sent],
    bootstrap_servers: str,
    *,
    prefix: str,
    rate: float,
    config: str | None,
    create: bool,
    partitions: int,
) -> Counter[str]:
    """Send records to a broker that has the topics, or is given them; return how many by topic.

    Raises BrokerUnreachable; Refused where topics are missing; UsageError for the config.
    """
    from streams.demo import sending, topics

    client = how_to_connect(config)
    topics.require(
        bootstrap_servers, prefix=prefix, create=create, partitions=partitions, client=client
    )
    return sending.send(bootstrap_servers, records, prefix=prefix, rate=rate, client=client)


def tell(count: Counter[str], *, as_json: bool) -> None:
    """Say how many records went to each topic."""
    if as_json:
        emit({"sent": dict(count)})
    else:
        say(", ".join(f"{topic} {n}" for topic, n in sorted(count.items())))
