"""`leidan verify` on what a simulated world has left: nothing differs, or the one thing altered."""

from __future__ import annotations

import pytest

from streams.agents.folds import ALL, folds
from streams.replay import net
from streams.store import meta
from streams.store.states import CODEC
from streams.topics import CHANGELOG, DEAD_LETTERS, JOURNAL, REWARDS, TASK_EVENTS
from tests.pooling import SEED
from tests.replay.worlds import Altered, evidence, verified, verify
from tests.sim.campaigns import registry


def nth(topic: str, n: int, *, key: bytes | None = None):
    """Return the n-th record of a topic; of those with another key than the meta row's."""
    found = [seen for seen in evidence().outputs[topic] if seen.key != meta.META or key]
    return found[n]


def altering(topic: str, offset: int, **changes):
    """Change fields of the record at an offset: a value, or what makes one of the old one."""

    def change(record):
        if (record.topic, record.offset) != (topic, offset):
            return record
        new = {k: v(getattr(record, k)) if callable(v) else v for k, v in changes.items()}
        return record._replace(**new)

    return Altered(change)


def one_byte(at: int):
    return lambda value: value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]


def header(name: str, new: bytes):
    return lambda headers: [(k, new if k == name else v) for k, v in headers]


def test_an_untouched_log_is_verified_whole(tmp_path):
    found = verified(tmp_path, Altered())
    assert found.difference is None
    assert found.transactions == len(evidence().outputs[JOURNAL]) > 20
    assert found.outputs > 40
    assert found.rows > 20


@pytest.mark.parametrize("n", [0, 7, -1])
@pytest.mark.parametrize("topic", [REWARDS, TASK_EVENTS])
def test_one_byte_of_an_output_is_found_and_named(tmp_path, topic, n):
    seen = nth(topic, n)
    at = seen.value.index(b'"occurred_at":"') + 18  # a digit of the year
    found = verified(tmp_path, altering(topic, seen.offset, value=one_byte(at)))
    assert found.difference.where == f"{topic}[0]@{seen.offset}"
    assert found.difference.user == seen.key.decode()
    assert found.difference.field == "occurred_at"


def test_one_byte_of_a_row_is_found_and_named(tmp_path):
    seen = nth(CHANGELOG, 9)
    for at in (0, 1, len(seen.value) // 2, len(seen.value) - 1):
        log = altering(CHANGELOG, seen.offset, value=one_byte(at))
        found = verified(tmp_path / str(at), log).difference
        assert found.where == f"{CHANGELOG}[0]@{seen.offset}"
        assert found.user == seen.key.decode(errors="backslashreplace")
        assert found.field


def test_one_offset_of_a_cause_is_found_and_named(tmp_path):
    seen = nth(REWARDS, 3)
    log = altering(REWARDS, seen.offset, headers=header("cause-offset", b"0"))
    found = verified(tmp_path, log).difference
    assert (found.where, found.field) == (f"{REWARDS}[0]@{seen.offset}", "header cause-offset")


def test_one_offset_of_a_meta_row_is_found_and_named(tmp_path):
    seen = [seen for seen in evidence().outputs[CHANGELOG] if seen.key == meta.META][4]
    said = meta.decode_meta(seen.value)
    topic = max(said.next, key=lambda name: said.next[name])
    moved = meta.encode_meta(meta.Meta({**said.next, topic: said.next[topic] - 1}, *_rest(said)))
    found = verified(tmp_path, altering(CHANGELOG, seen.offset, value=moved)).difference
    assert found.where == f"{CHANGELOG}[0]@{seen.offset}"
    assert found.field == f"next offset of {topic}"


def test_one_committed_offset_is_found_and_named(tmp_path):
    for move in (-1, 1):
        log = Altered()
        log.moved = {"orders": log.committed(0)["orders"] + move}
        found = verified(tmp_path / str(move), log).difference
        assert (found.where, found.field) == (
            f"orders[0]@{log.moved['orders']}",
            "the committed offset",
        )


@pytest.mark.parametrize("topic", [REWARDS, TASK_EVENTS, DEAD_LETTERS, CHANGELOG, JOURNAL])
@pytest.mark.parametrize("n", [0, -1])
def test_one_record_that_is_gone_is_found(tmp_path, topic, n):
    seen = nth(topic, n)

    def gone(record):
        return None if (record.topic, record.offset) == (topic, seen.offset) else record

    assert verified(tmp_path, Altered(gone)).difference is not None


def test_two_outputs_that_changed_places_are_found(tmp_path):
    first, second = nth(TASK_EVENTS, 3), nth(TASK_EVENTS, 4)
    places = {first.offset: second, second.offset: first}

    def swapped(record):
        if record.topic != TASK_EVENTS or record.offset not in places:
            return record
        other = places[record.offset]
        return record._replace(key=other.key, value=other.value, headers=list(other.headers))

    found = verified(tmp_path, Altered(swapped)).difference
    assert found.where == f"{TASK_EVENTS}[0]@{first.offset}"


def test_an_output_that_nobody_gave_is_found_at_the_end(tmp_path):
    log = Altered()
    last = log.logs[REWARDS][-1]
    log.logs[REWARDS] = [*log.logs[REWARDS], last._replace(offset=last.offset + 2)]
    log.ends[REWARDS] = last.offset + 3
    found = verified(tmp_path, log).difference
    assert (found.where, found.wanted) == (f"{REWARDS}[0]@{last.offset + 2}", "nothing")


def test_a_second_run_reads_the_outputs_and_folds_nothing_again(tmp_path):
    first = verified(tmp_path, Altered())
    log = Altered()
    check, rows = verify(tmp_path, log)
    assert not check.stale()
    found = check.run()
    rows.close()
    assert (found.difference, found.transactions, found.before) == (None, 0, first.transactions)
    assert not {"orders", "claims", JOURNAL, CHANGELOG} & log.read.keys()
    assert log.read[REWARDS] > 0


def test_what_is_altered_after_it_was_verified_is_seen_by_its_digest(tmp_path):
    verified(tmp_path, Altered())
    seen = nth(REWARDS, 5)
    check, rows = verify(tmp_path, altering(REWARDS, seen.offset, value=one_byte(40)))
    assert check.stale()
    rows.close()


def test_stopped_in_the_middle_it_goes_on_where_it_was(tmp_path):
    middle = nth(JOURNAL, 10).offset

    def stop(record):
        if (record.topic, record.offset) == (JOURNAL, middle):
            raise KeyboardInterrupt
        return record

    with pytest.raises(KeyboardInterrupt):
        verified(tmp_path, Altered(stop))
    found = verified(tmp_path, Altered())
    assert (found.difference, found.before) == (None, 10)
    assert found.transactions == len(evidence().outputs[JOURNAL]) - 10


def test_a_cleaned_changelog_is_verified_and_its_last_rows_compared(tmp_path):
    log = Altered()
    newest = {seen.key: seen.offset for seen in log.logs[CHANGELOG]}
    cleaned = [seen for seen in log.logs[CHANGELOG] if newest[seen.key] == seen.offset]
    log.logs[CHANGELOG] = cleaned
    assert verified(tmp_path / "clean", log).difference is None
    lost = cleaned[3]
    log = Altered()
    log.logs[CHANGELOG] = [seen for seen in cleaned if seen is not lost]
    found = verified(tmp_path / "lost", log).difference
    assert (found.user, found.field) == (lost.key.decode(errors="backslashreplace"), "the row")


def _rest(said: meta.Meta) -> tuple[int, int, int]:
    return said.batch, said.fold_version, said.row_schema


def without_journal(change=None) -> Altered:
    log = Altered(change)
    log.logs[JOURNAL], log.ends[JOURNAL] = [], 0
    return log


def compared_net(directory, log):
    check, rows = verify(directory, log)
    del check
    try:
        return net.compare(
            0, rows, log, CODEC, registry(), folds(lambda _: -1, lambda _: SEED, ALL)
        )
    finally:
        rows.close()


def test_a_log_without_a_journal_gives_the_same_net_result(tmp_path):
    found = compared_net(tmp_path, without_journal())
    assert found.difference is None
    assert found.users > 3


def test_an_order_that_is_missing_from_a_log_without_a_journal_is_found(tmp_path):
    users = {seen.key for seen in evidence().outputs[REWARDS]}
    order = next(seen for seen in evidence().inputs["orders"] if seen.key in users)

    def gone(record):
        return None if (record.topic, record.offset) == ("orders", order.offset) else record

    found = compared_net(tmp_path, without_journal(gone)).difference
    assert found.user == order.key.decode()
