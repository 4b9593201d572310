"""The benchmark of the task page itself runs; its figures here mean nothing."""

from __future__ import annotations

from tests.bench import render


def test_a_small_store_is_asked_alone_and_while_the_worker_folds(tmp_path):
    found = render.run(500, 20, tmp_path, lambda _: None)
    assert found["alone"]["requests"] == 20
    assert found["folding"]["folded_per_s"] > 0
