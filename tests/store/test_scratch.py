"""What is spilled to a temporary database is what memory would have held."""

from __future__ import annotations

import heapq
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.store import scratch
from streams.store.scratch import Agenda, Scratch, Spilled

NAMES = st.text("ab\u00e9\U0001f600", max_size=3)
SETS = st.tuples(st.just("set"), NAMES, st.integers(0, 9))
GETS = st.tuples(st.just("get"), NAMES, st.just(0))
WALKS = st.tuples(st.sampled_from(("walk", "clear")), st.just(""), st.just(0))
ADDS = st.tuples(st.just("add"), st.integers(0, 60), st.integers(0, 1), NAMES)
NEXTS = st.tuples(st.just("next"), st.integers(0, 60), st.just(0), st.just(""))
KEEPS = st.tuples(st.just("keep"), st.just(0), st.just(0), st.just(""))


def spilled(place: Scratch, most: int = 2) -> Spilled[int]:
    return Spilled(place, most, lambda n: b"%d" % n, lambda _, data: int(data))


@given(st.lists(SETS | GETS | WALKS, max_size=60))
@settings(max_examples=60)
def test_a_spilled_mapping_is_a_mapping(steps):
    was, scratch.SPILL = scratch.SPILL, 2
    try:
        with Scratch() as place:
            found, other, wanted = spilled(place), spilled(place), {}
            other["a"] = 100
            for what, name, value in steps:
                if what == "set":
                    found[name] = wanted[name] = value
                elif what == "get":
                    assert found.get(name) == wanted.get(name)
                elif what == "walk":
                    assert list(found.items()) == sorted(wanted.items())
                else:
                    found.clear()
                    wanted.clear()
            assert dict(found.items()) == wanted
            assert list(other.items()) == [("a", 100)], "each has entries of its own"
    finally:
        scratch.SPILL = was


@given(st.lists(ADDS | NEXTS | KEEPS, max_size=80), st.integers(1, 4))
@settings(max_examples=100)
def test_an_agenda_gives_what_a_heap_gives(steps, most):
    """A thing added twice may be had twice or once: who has it looks whether it is still due."""
    with Scratch() as place:
        found, heap = Agenda(place, most), []
        for what, at_ms, kind, name in [*steps, ("next", 1 << 40, 0, "")]:
            if what == "add":
                found.add(at_ms, kind, name)
                heapq.heappush(heap, (at_ms, kind, name))
            elif what == "keep":
                found.keep(kind)
                heap = sorted(thing for thing in heap if thing[1] == kind)
            else:
                had, wanted = [], []
                while (thing := found.next(at_ms)) is not None:
                    had.append(thing)
                while heap and heap[0][0] <= at_ms:
                    wanted.append(heapq.heappop(heap))
                assert list(dict.fromkeys(had)) == list(dict.fromkeys(wanted))


def test_a_small_run_never_touches_the_disk_and_a_large_one_leaves_nothing_there(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(tmp_path))
    with Scratch() as place:
        rows = spilled(place, 1_000)
        rows["a"] = 1
        assert not place.used
        assert list(tmp_path.iterdir()) == []
        for n in range(3_000):
            rows[f"{n:05}"] = n
        assert place.used
        (directory,) = tmp_path.iterdir()
        assert Path(directory).name.startswith("leidan-scratch-")
        assert sum(1 for _ in rows.items()) == 3_001
    assert list(tmp_path.iterdir()) == []
