"""What a person is told of a backfill under way, and what its digest tells apart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.backfill.account import Account, Ledger, Said, element, total
from streams.backfill.progress import Progress
from streams.backfill.runner import Look
from streams.feed.ports import Outgoing


def look(p: int, at: int, of: int, records: int, day: int) -> Look:
    clock_ms = 1_767_225_600_000 + day * 86_400_000  # 2026-01-01 and so many days
    said = {"rewards": Said(records // 2)}
    return Look(p, at, of, Account(records=records, clock_ms=clock_ms, said=said))


def test_without_a_terminal_there_is_a_line_every_ten_seconds_and_no_more():
    now_s, said = 0.0, []
    with Progress({0: 1_000, 1: 1_000}, said.append, lively=False, clock=lambda: now_s) as shown:
        for n in range(41):
            now_s = n / 2
            shown.show(look(0, 10 * n, 1_000, 10 * n, day=9))
            shown.show(look(1, 20 * n, 1_000, 20 * n, day=3))
    assert len(said) == 2
    assert said[1] == (
        "59 %: 1,180 records, 60/s, at 2026-01-04 00:00, 590 outputs, 0 min 13 s left; "
        "0 of 2 partitions; under way 0: 40 %, 1: 78 %"
    )


class Lot:
    """As much of a batch as an account looks at."""

    def __init__(self, outgoing: list[Outgoing]) -> None:
        self.records: list = []
        self.outgoing, self.outcomes = outgoing, {}


outputs = st.lists(
    st.builds(
        Outgoing,
        st.sampled_from(["rewards", "task-events"]),
        st.sampled_from([None, b"", b"u1"]),
        st.sampled_from([None, b"", b"{}"]),
        st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sampled_from([b"", b"1"])), max_size=2),
        st.none(),
    ),
    max_size=8,
)


@given(outputs, st.randoms(use_true_random=False), st.integers(0, 8))
def test_the_digest_is_the_same_for_any_cut_and_order_and_partition(said, dice, cut):
    whole = Ledger(Account()).add([Lot(said)])
    other = list(said)
    dice.shuffle(other)
    first = Ledger(Account()).add([Lot(other[:cut])])
    second = Ledger(Account()).add([Lot(other[cut:])])
    assert total([first, second]).said == total([whole]).said


@given(outputs.filter(bool), outputs)
def test_the_digest_tells_other_outputs_apart(said, others):
    def of(many: list[Outgoing]) -> dict[str, Said]:
        return Ledger(Account()).add([Lot(many)]).said

    assert of(said) != of(said[1:]), "one left out"
    assert of(said) != of([*said, said[0]]), "one doubled"
    same = sorted(map(repr, said)) == sorted(map(repr, others))
    assert (of(said) == of(others)) is same


@given(outputs.filter(lambda many: len(many) > 1))
def test_no_two_different_outputs_are_one_element(said):
    one, two = said[0], said[1]
    assert (element(*one[:4]) == element(*two[:4])) is (one[:4] == two[:4])
