"""The web server of one worker: its address, its pages, who may ask."""

from __future__ import annotations

import logging
import socket
import sys
import time
from typing import TYPE_CHECKING, Protocol

from streams import topics
from streams.feed.background import Background
from streams.feed.members import Members
from streams.web import probes, server
from streams.web.owners import Owners
from streams.web.pages import pages
from streams.web.tasks import Tasks

if TYPE_CHECKING:
    from streams.feed.campaigns import CampaignReader
    from streams.feed.loop import Feed
    from streams.feed.watchdog import Watchdog
    from streams.settings import Settings

log = logging.getLogger(__name__)

SWITCH_S = 0.0005
"""How long the fold may keep Python's lock when the web thread wants it: 5 ms by default, and an
answer asks for it three or four times."""


class Served(Protocol):
    """What is asked of a worker."""

    feed: Feed
    reader: CampaignReader
    watchdog: Watchdog
    partitions: int


def bind(settings: Settings) -> socket.socket | None:
    """Return the listening socket, before anything else: the group is told its address.

    None: no web server is wanted. Raises UsageError.
    """
    if settings.web_port is None:
        return None
    return server.bind(settings.web_host, settings.web_port)


def address(settings: Settings, listening: socket.socket | None) -> str:
    """Return where other workers send users to; empty without a web server."""
    if listening is None:
        return ""
    if settings.web_advertised:
        return settings.web_advertised
    host = settings.web_host
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 - everywhere is no address
        host = socket.gethostname()
    if ":" in host:
        host = f"[{host}]"
    return f"http://{host}:{_port(listening)}"


def serve(settings: Settings, listening: socket.socket, worker: Served) -> None:
    """Serve the worker's pages in a thread of their own."""
    loopback = server.is_loopback(settings.web_host)
    if not settings.web_token and not loopback:
        log.warning("the web surface is open to the network: set web_token_file")
    feed, members = worker.feed, Members(settings, settings.topic(topics.ORDERS))
    asking = Background("owners")
    owners = Owners(
        lambda: asking.submit(members.owners),
        lambda: sum(feed.counts.rebalances.values()),
    )
    tokens = server.Tokens(settings.web_token, settings.web_operator_token)
    tasks = Tasks(
        worker.partitions,
        feed.committed,
        worker.reader.current,
        owners,
        lambda: time.time_ns() // 1_000_000,
        anyone_operates=loopback and tokens == (None, None),
    )
    sys.setswitchinterval(SWITCH_S)
    said = pages(
        lambda: probes.live(worker.watchdog, time.monotonic()), lambda: probes.ready(feed), tasks
    )
    server.serve(listening, said, tokens)
    base = f"http://{settings.web_host}:{_port(listening)}"
    log.info("%s/metrics, /livez, /readyz and /tasks/{user_id}", base)


def _port(listening: socket.socket) -> int:
    return int(listening.getsockname()[1])
