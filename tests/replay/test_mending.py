"""What the live topics have lost is found by id, exactly; once it is there again all is well."""

from __future__ import annotations

import random  # noqa: TID251 - which are lost, not money
from typing import TYPE_CHECKING, Any

import pytest

from streams.errors import Refused
from streams.feed.ports import Record
from streams.replay.said import BACKFILL_FROM, MAKEGOOD_DIGEST, id_of
from streams.replay.verify import account_of, missing_of
from streams.topics import DEAD_LETTERS, JOURNAL, REWARDS, TASK_EVENTS
from tests.replay.worlds import Altered, evidence, verified, verify

if TYPE_CHECKING:
    from pathlib import Path

    from streams.replay.said import Missing
    from tests.checker import Seen

SEEDS = range(4)
LOST = (REWARDS, TASK_EVENTS)


def without(lost: set[tuple[str, int]]) -> Altered:
    """The log whose topics have lost these."""
    log = Altered()
    for topic in LOST:
        log.logs[topic] = [seen for seen in log.logs[topic] if (topic, seen.offset) not in lost]
    return log


def some(seed: int, share: float = 0.3) -> set[tuple[str, int]]:
    dice = random.Random(seed)  # noqa: S311 - what is lost, not money
    every = [(topic, seen.offset) for topic in LOST for seen in evidence().outputs[topic]]
    return set(dice.sample(every, round(len(every) * share)))


def compared(directory: Path, log: Altered) -> tuple[Any, list[Missing]]:
    check, rows = verify(directory, log, mending=True)
    try:
        return check.run(), list(missing_of(rows))
    finally:
        rows.close()


def record(seen: Seen) -> Record:
    return Record(*seen[:5], list(seen.headers), seen.timestamp_ms)


def said_again(log: Altered, missing: list[Missing]) -> Altered:
    """The log with these written behind all others, as `--into live` does."""
    for one in missing:
        end = log.ends[one.topic]
        seen = log.logs[one.topic][-1] if log.logs[one.topic] else evidence().outputs[one.topic][-1]
        new = seen._replace(offset=end, key=one.key, value=one.value, headers=tuple(one.headers))
        log.logs[one.topic] = [*log.logs[one.topic], new]
        log.ends[one.topic] = end + 1
    return log


@pytest.mark.parametrize("seed", SEEDS)
def test_exactly_what_is_lost_is_missing_word_for_word(tmp_path, seed):
    lost = some(seed)
    found, missing = compared(tmp_path, without(lost))
    assert found.difference is None
    every = [record(seen) for topic in LOST for seen in evidence().outputs[topic]]
    wanted = {id_of(one): one for one in every if (one.topic, one.offset) in lost}
    assert len(missing) == len(wanted) == len(lost) > 5
    for one in missing:
        was = wanted[id_of(one)]
        (origin,) = [value for name, value in one.headers if name == BACKFILL_FROM]
        assert (one.key, one.value, one.headers[:-1]) == (was.key, was.value, was.headers)
        assert origin.startswith(f"{JOURNAL}[0]@".encode())


def test_of_a_topic_that_has_lost_all_everything_is_missing_in_its_order(tmp_path):
    lost = {(REWARDS, seen.offset) for seen in evidence().outputs[REWARDS]}
    found, missing = compared(tmp_path, without(lost))
    assert found.difference is None
    assert [id_of(one) for one in missing] == [
        id_of(record(seen)) for seen in evidence().outputs[REWARDS]
    ]


def test_nothing_is_missing_where_nothing_was_lost(tmp_path):
    found, missing = compared(tmp_path, Altered())
    assert (found.difference, missing) == (None, [])
    assert found.outputs > 40


@pytest.mark.parametrize("seed", SEEDS)
def test_once_it_is_there_again_verify_finds_no_difference_and_nothing_is_missing(tmp_path, seed):
    """Also where a second loss is mended after a first, so the later ones lie in two runs."""
    log = without(some(seed))
    said_again(log, compared(tmp_path / "first", log)[1])
    second = some(seed + 100, share=0.1)
    for topic in LOST:
        log.logs[topic] = [seen for seen in log.logs[topic] if (topic, seen.offset) not in second]
    said_again(log, compared(tmp_path / "second", log)[1])
    found, missing = compared(tmp_path / "third", log)
    assert (found.difference, missing) == (None, [])
    found = verified(tmp_path / "verify", log)
    assert found.difference is None
    assert found.later == len(some(seed) | second)
    check, rows = verify(tmp_path / "verify", log)
    assert not check.stale(), "and the second time it is quick"
    again = check.run()
    rows.close()
    assert (again.difference, again.transactions, again.later) == (None, 0, 0)


def test_who_goes_on_after_it_was_written_again_finds_no_difference_in_it(tmp_path):
    log = without(some(1))
    said_again(log, compared(tmp_path, log)[1])
    found, missing = compared(tmp_path, log)
    assert (found.difference, found.transactions) == (None, 0)
    assert len(missing) == len(some(1)), "what is on the topics by now is left out by who writes"


def test_what_was_written_again_twice_or_with_another_byte_is_found(tmp_path):
    log = without(some(1))
    missing = compared(tmp_path / "first", log)[1]
    twice = said_again(without(some(1)), [*missing, missing[0]])
    found = verified(tmp_path / "twice", twice).difference
    assert (found.where, found.wanted) == (
        f"{missing[0].topic}[0]@{twice.ends[missing[0].topic] - 1}", "nothing",
    )  # fmt: skip
    said_again(log, missing)
    verified(tmp_path / "run", log)
    of_topic = log.logs[missing[0].topic]
    n = next(n for n, seen in enumerate(of_topic) if BACKFILL_FROM in dict(seen.headers))
    of_topic[n] = of_topic[n]._replace(value=of_topic[n].value[:-1] + b" ")
    assert verified(tmp_path / "anew", log).difference is not None
    check, rows = verify(tmp_path / "run", log)
    assert check.stale(), "also by one who had verified it before"
    rows.close()


def test_the_record_of_a_make_good_is_no_difference_and_counts_as_there_by_its_id(tmp_path):
    """It is valid for another while than the worker's own, so bytes may differ; the id decides."""
    log = Altered()
    lost = log.logs[REWARDS][3]
    log.logs[REWARDS] = [seen for seen in log.logs[REWARDS] if seen is not lost]
    assert verified(tmp_path / "lost", log).difference is not None
    made = lost._replace(
        offset=log.ends[REWARDS],
        value=lost.value.replace(b'"v":', b'"_":"other","v":'),
        headers=(*lost.headers, (MAKEGOOD_DIGEST, b"digest")),
    )
    extra = made._replace(
        offset=made.offset + 1,
        headers=tuple((k, b"evt_more" if k == "ce_id" else v) for k, v in made.headers),
    )
    log.logs[REWARDS] += [made, extra]
    log.ends[REWARDS] = extra.offset + 1
    found = verified(tmp_path / "made", log)
    assert found.difference is None
    assert found.made_good == 2
    assert compared(tmp_path / "live", log)[1] == [], "so --into live does not give it again"


def test_who_has_sent_a_dead_letter_does_not_decide_what_is_compared(tmp_path):
    """A dead letter has all headers of its input: ours among them prove nothing."""
    log = Altered()
    last = log.logs[DEAD_LETTERS][-1]
    forged = last._replace(
        offset=log.ends[DEAD_LETTERS], headers=(*last.headers, (MAKEGOOD_DIGEST, b"x"))
    )
    log.logs[DEAD_LETTERS] = [*log.logs[DEAD_LETTERS], forged]
    log.ends[DEAD_LETTERS] += 1
    assert verified(tmp_path, log).difference.where == f"{DEAD_LETTERS}[0]@{forged.offset}"


@pytest.mark.parametrize("topic", [REWARDS, TASK_EVENTS])
def test_more_than_a_loss_is_a_difference(tmp_path, topic):
    """Altered, or given by nobody: the rows of the workers are not these, so nothing is told."""
    lost = some(2)
    kept = [seen for seen in evidence().outputs[topic] if (topic, seen.offset) not in lost]
    altered = kept[4]
    log = without(lost)
    log.change = lambda one: (
        one._replace(value=one.value + b" ")
        if (one.topic, one.offset) == (topic, altered.offset)
        else one
    )
    assert compared(tmp_path / "altered", log)[0].difference.where == f"{topic}[0]@{altered.offset}"
    log = without(lost)
    strange = tuple((k, b"evt_strange" if k == "ce_id" else v) for k, v in kept[2].headers)
    log.logs[topic] = [s._replace(headers=strange) if s is kept[2] else s for s in log.logs[topic]]
    found = compared(tmp_path / "strange", log)[0].difference
    assert (found.where, found.wanted) == (f"{topic}[0]@{kept[2].offset}", "nothing")


def test_a_missing_dead_letter_is_told_and_never_written(tmp_path):
    log = Altered()
    log.logs[DEAD_LETTERS] = log.logs[DEAD_LETTERS][1:]
    check, rows = verify(tmp_path, log, mending=True)
    found = check.run()
    left_out, missing = account_of(rows).left_out, list(missing_of(rows))
    rows.close()
    assert (found.difference, missing, left_out) == (None, [], {DEAD_LETTERS: 1})


def test_a_ledger_that_retention_has_cut_is_refused(tmp_path):
    log = Altered()
    bounds = log.bounds
    log.bounds = lambda topic, p: (5 if topic == REWARDS else 0, bounds(topic, p)[1])
    with pytest.raises(Refused, match=r"rewards\[0\] begins at offset 5.*retention\.ms=-1"):
        compared(tmp_path, log)


def test_what_another_version_has_folded_is_refused(tmp_path):
    check, rows = verify(tmp_path, Altered(), mending=True)
    check._fold_version += 1  # noqa: SLF001 - as a newer leidan would be
    with pytest.raises(Refused, match=r"folded by version"):
        check.run()
    rows.close()


def test_stopped_between_two_transactions_it_keeps_what_it_has_found(tmp_path):
    lost, log = some(3), without(some(3))
    middle = evidence().outputs[JOURNAL][12].offset

    def stop(one: Record) -> Record:
        if (one.topic, one.offset) == (JOURNAL, middle):
            raise KeyboardInterrupt
        return one

    log.change = stop
    with pytest.raises(KeyboardInterrupt):
        compared(tmp_path, log)
    found, missing = compared(tmp_path, without(lost))
    assert found.before == 12
    assert len(missing) == len(lost)
