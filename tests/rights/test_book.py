"""The reference rights service without Kafka: commands in, answers out, faults as drawn."""

from __future__ import annotations

import hypothesis
from hypothesis import strategies as st

from streams.rights.book import Answer, Book, Command
from streams.rights.faults import RATES, Faults

LATER = 10**9


def issue(seq: int = 1, right_type: str = "red_packet", reward_id: str = "rwd_1") -> Command:
    return Command("u-1", reward_id, seq, 1_000, right_type)


def revoke(seq: int = 2, at_ms: int = 5_000, reward_id: str = "rwd_1") -> Command:
    return Command("u-1", reward_id, seq, at_ms)


def said(book: Book, now_ms: int = LATER) -> list[str]:
    return [
        f"{a.seq}:{a.outcome}" + (" again" if a.retryable else "") for a in book.answers(now_ms)
    ]


def after(faults: Faults, *commands: Command, now_ms: int = LATER) -> list[str]:
    """Take the commands one by one, each answered before the next; return all answers."""
    book, found = Book(faults), []
    for command in commands:
        book.take(command, now_ms)
        found += said(book, now_ms)
    return found


def test_an_issue_is_carried_out_and_a_revocation_undoes_it():
    assert after(Faults(), issue(), revoke(), issue(3)) == ["1:issued", "2:revoked", "3:issued"]


def test_a_command_is_carried_out_once():
    assert after(Faults(), issue(), issue(), issue()) == ["1:issued"]


def test_commands_are_carried_out_in_order_of_seq():
    book = Book(Faults())
    book.take(revoke(), 0)
    assert said(book) == []
    book.take(issue(), 0)
    assert said(book) == ["2:revoked"]  # by then it was taken back: nothing is issued


def test_an_issue_that_fails_for_good_leaves_nothing_to_take_back():
    assert after(Faults(fail=1), issue(), revoke()) == ["1:failed", "2:revoked"]


def test_an_issue_that_fails_for_now_is_tried_again_by_the_service_itself():
    book = Book(Faults(retry=1, retry_ms=500))
    book.take(issue(), 1_000)
    assert said(book, 1_000) == ["1:failed again"]
    assert said(book, 1_499) == []
    assert said(book, 1_500) == ["1:issued"]


def test_what_was_spent_cannot_be_taken_back():
    assert after(Faults(spend=1), issue(), revoke()) == ["1:issued", "1:spent", "2:revoke_failed"]


def test_what_has_lapsed_cannot_be_spent_and_cash_never_lapses():
    assert after(Faults(expire=1), issue()) == ["1:issued", "1:expired"]
    assert after(Faults(expire=1), issue(right_type="cash")) == ["1:issued"]


def test_what_is_taken_back_first_is_not_spent():
    book = Book(Faults(spend=1, use_ms=1_500))
    book.take(issue(), 1_000)
    assert said(book, 1_000) == ["1:issued"]
    book.take(revoke(at_ms=1_100), 1_100)
    assert said(book) == ["2:revoked"]


def test_what_was_shipped_cannot_be_taken_back():
    shipped = issue(right_type="physical")
    assert after(Faults(), shipped, revoke()) == ["1:issued", "2:revoke_failed"]


def test_a_late_answer_comes_late_and_a_double_one_is_the_same_to_the_byte():
    book = Book(Faults(late=1, twice=1, late_ms=3_000))
    book.take(issue(), 1_000)
    assert book.answers(3_999) == []
    first, second = book.answers(LATER)
    assert first == second
    assert first.result_id == second.result_id


def test_a_service_that_is_down_says_until_when():
    book = Book(Faults(down=1, down_ms=2_000))
    book.take(issue(), 1_000)
    assert book.down_until_ms == 3_000


def test_the_two_failures_of_a_command_have_two_ids():
    failed = Answer("u-1", "rwd_1", 1, "failed", retryable=False, at_ms=1)
    assert failed.result_id != failed._replace(retryable=True).result_id


rates = st.sampled_from([0.0, 0.5, 1.0])
commands = st.lists(st.tuples(st.sampled_from(["rwd_1", "rwd_2"]), st.integers(1, 4)), max_size=12)


@hypothesis.given(st.fixed_dictionaries(dict.fromkeys(RATES, rates)), commands, st.integers(0, 12))
def test_a_service_that_was_restarted_answers_each_command_once_and_as_before(rates, given, cut):
    """Its memory is its own answers; all commands are read again."""
    faults = Faults(**rates)
    log = [
        issue(seq, reward_id=name) if seq % 2 else revoke(seq, reward_id=name)
        for name, seq in given
    ]
    first, told = Book(faults), []
    for command in log[:cut]:
        first.take(command, LATER)
        told += first.answers(LATER)
    second, again = Book(faults), []
    for answer in told:
        second.remember(answer)
    for command in log:
        second.take(command, LATER)
        again += second.answers(LATER)
    repeated = [answer for answer in again if answer in told]
    assert {answer.outcome for answer in repeated} <= {"spent", "expired"}
    final = [
        a for a in {*told, *again} if a.outcome not in ("spent", "expired") and not a.retryable
    ]
    assert len({(a.reward_id, a.seq) for a in final}) == len(final), "one answer for each command"
