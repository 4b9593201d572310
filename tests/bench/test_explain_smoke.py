"""The benchmark of `explain` itself runs; its figures here mean nothing."""

from __future__ import annotations

from tests.bench import explain


def test_users_of_a_small_store_are_explained_and_nobodys_order_is_not_found(tmp_path):
    found = explain.run(2_000, 5, tmp_path, lambda _: None)
    assert found["events_of_a_user"] > 1
    assert found["verb_events"] > 1
    assert found["order_found"] is None
