"""Rows 5, 6 and 7 of the fault matrix: the network between a worker and its broker.

Every fault is made by a proxy in front of a real broker and counts when its journal says so.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import KafkaError

from streams.traffic import Traffic
from tests.faults.network import CAMPAIGNS, Run, behind_proxies
from tests.faults.proxy import Api, Do

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.proxy import Held, Proxies
    from tests.kafka.cluster import Cluster

Start = Callable[..., Run]


@pytest.fixture(scope="module")
def behind(kafka_jars: Path) -> Iterator[tuple[Cluster, Proxies]]:  # noqa: ARG001 - fetched first
    with behind_proxies() as both:
        yield both


@pytest.fixture
def proxies(behind: tuple[Cluster, Proxies]) -> Iterator[Proxies]:
    yield behind[1]
    for fault in behind[1].faults:
        fault.lift()


@pytest.fixture
def start(
    behind: tuple[Cluster, Proxies], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Start]:
    runs: list[Run] = []

    def begin(seed: int, orders: int, per_s: float, **settings: object) -> Run:
        name = "".join(c if c.isalnum() else "-" for c in request.node.name)
        runs.append(Run(behind[0], name, tmp_path, **settings))
        runs[0].begin(Traffic(seed, orders // 10, orders), per_s)
        return runs[0]

    yield begin
    for run in runs:
        run.close()


# -- row 7: the outcome of a commit cannot be told -------------------------------------------------


def test_row07_a_commit_whose_answer_is_lost_has_happened_once(
    start: Start, proxies: Proxies
) -> None:
    """The connection is cut where the broker answered."""
    run = start(701, 1_500, 600)
    with proxies.fault(Do.CUT_ANSWER, apis=(Api.END_TXN,), times=3) as lost:
        run.until(lambda: lost.landed == 3, "three commits without an answer", 30)
    run.finish(whole=True)
    assert run.aborted() == 0, "they were committed, and nothing else was aborted"


@pytest.mark.parametrize("lost", [Do.DROP_ANSWER, Do.DROP], ids=["answer", "request"])
def test_row07_a_commit_of_unknown_outcome_is_decided_by_the_committed_offset(
    start: Start, proxies: Proxies, lost: Do
) -> None:
    run = start(702, 4_000, 150)
    producers = run.worker.stats()["producers"]
    with proxies.fault(lost, apis=(Api.END_TXN,)) as fault:  # every copy, until it gives up
        run.until(lambda: run.count("unknown") >= 1, "a commit of unknown outcome", 60)
    assert fault.landed >= 1
    run.healed()
    assert run.worker.stats()["producers"] > producers, "it was replaced"
    run.finish()
    if lost is Do.DROP:
        assert run.aborted() >= 1, "the transaction whose commit never arrived is no part of it"
    else:
        assert run.aborted() == 0, "what the broker answered had happened"


# -- row 6: a late copy inside the next transaction ------------------------------------------------

LATE = {
    "EndTxn": Api.END_TXN,
    "Produce": Api.PRODUCE,
    "AddOffsetsToTxn": Api.ADD_OFFSETS_TO_TXN,
    "TxnOffsetCommit": Api.TXN_OFFSET_COMMIT,
}


@pytest.mark.parametrize("what", LATE)
def test_row06_a_request_let_go_inside_the_next_transaction_changes_nothing(
    start: Start, proxies: Proxies, what: str
) -> None:
    run = start(601, 6_000, 150)
    before = run.worker.stats()
    with proxies.fault(Do.HOLD, apis=(LATE[what],), times=1) as held:
        run.until(lambda: held.landed == 1, f"{what} to be held", 20)
        run.until(lambda: held.held[0].client_gone, "its client to give the connection up", 60)
        run.healed()
        with proxies.fault(Do.HOLD, apis=(Api.END_TXN,), times=1) as inside:
            run.until(lambda: inside.landed == 1, "the next transaction to be open", 20)
            (late,) = held.release()
            inside.release()
    print(f"{what} let go: answered {late.answer!r}")

    def more(counted: str) -> bool:
        return run.worker.stats()[counted] > before[counted]

    run.until(lambda: more("producers"), "the suspect producer to be replaced", 20)
    run.until(lambda: more("restores"), "every partition to be restored", 20)
    assert refused(late), "the broker took a late copy: the producer's epoch has not moved"
    run.healed()
    run.finish()


OLD_EPOCH = tuple(
    struct.pack(">h", code)
    for code in (KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED)
)


def refused(late: Held) -> bool:
    """Whether the answer to a late copy has the error code of an old epoch in it.

    Where it stands differs by request and version; behind it are lengths and names without it.
    """
    assert late.answer is not None, "void: the broker did not answer the late copy"
    return any(code in late.answer[4:] for code in OLD_EPOCH)


def test_row06_a_restore_waits_for_markers_that_are_late(start: Start, proxies: Proxies) -> None:
    run = start(602, 6_000, 150)
    apis = (Api.WRITE_TXN_MARKERS,)
    with proxies.fault(Do.DELAY, listener="BROKER", apis=apis, delay_s=3.0) as late:
        run.until(lambda: late.landed >= 3, "markers to be late", 60)
        for _ in range(3):  # dies behind a commit whose markers are on their way
            run.worker.kill()
            run.worker.start()
            run.healed()
    assert late.landed >= 6
    run.finish()


# -- row 5: the broker is refused, black-holed, half open, slow ------------------------------------

BROKEN = {
    "refused": Do.REFUSE,
    "black-holed": Do.BLACK_HOLE,
    "half-open": Do.HALF_OPEN,
}
BROKEN_S = 20.0
MEMORY_KB = 512 * 1024  # reliability.md 4


@pytest.mark.parametrize("how", BROKEN)
def test_row05_work_resumes_after_a_broken_network(
    start: Start, proxies: Proxies, how: str
) -> None:
    run = start(501, 12_000, 250)
    with proxies.fault(BROKEN[how]) as fault:
        run.rest(BROKEN_S)
    assert fault.landed >= 2, f"void: {fault.landed} connections were {how}"
    print(f"{how}: healed after {run.healed():.1f} s")
    assert run.restarts.total() <= 3, "a fault costs at most 3 restarts"
    assert run.worker.peak_kb() < MEMORY_KB
    run.finish()


def test_row05_half_open_connections_that_nobody_resets_are_given_up(
    start: Start, proxies: Proxies
) -> None:
    run = start(505, 20_000, 150)
    fault = proxies.fault(Do.HALF_OPEN)
    fault.leave()  # new connections are well
    assert fault.landed >= 2, f"void: {fault.landed} connections were half open"
    print(f"never reset: healed after {run.healed(90):.1f} s")
    assert run.restarts.total() <= 3, "a fault costs at most 3 restarts"
    run.finish()


def test_row05_a_broker_two_seconds_away_is_slow_and_nothing_else(
    start: Start, proxies: Proxies
) -> None:
    run = start(502, 12_000, 150)
    before = run.committed()
    with proxies.fault(Do.DELAY, delay_s=2.0) as fault:
        run.rest(5)
        run.until(lambda: run.committed() >= before + 2, "two commits at that distance", 90)
    assert fault.landed >= 10
    run.healed()
    assert run.restarts.total() == 0, "nothing was broken"
    assert run.worker.peak_kb() < MEMORY_KB
    run.finish()


@pytest.mark.parametrize("how", BROKEN)
def test_row05_the_feed_pauses_while_the_campaign_reader_alone_hears_nothing(
    start: Start, proxies: Proxies, how: str
) -> None:
    run = start(503, 20_000, 250)
    with proxies.fault(BROKEN[how], about=CAMPAIGNS) as fault:
        run.until(lambda: run.worker.stats().get("paused") == "campaigns", "the feed to pause", 90)
        run.rest(2)
        before = run.committed()
        run.rest(6)
        assert run.committed() == before, "it folds by definitions that may be too old"
        assert run.worker.stats()["paused"] == "campaigns"
    assert fault.landed >= 1
    print(f"campaigns {how}: healed after {run.healed():.1f} s")
    assert run.restarts.total() == 0, "a pause is no reason to leave"
    assert run.worker.peak_kb() < MEMORY_KB
    run.finish()


def test_row05_the_feed_goes_on_while_the_campaign_reader_is_slow(
    start: Start, proxies: Proxies
) -> None:
    run = start(504, 12_000, 250)
    with proxies.fault(Do.DELAY, about=CAMPAIGNS, delay_s=2.0) as fault:
        until_s = time.monotonic() + 40  # longer than definitions may be unconfirmed
        while time.monotonic() < until_s:
            run.rest(1)
            assert run.worker.stats()["paused"] != "campaigns"
    assert fault.landed >= 5
    assert run.restarts.total() == 0
    run.finish()
