"""Ids are derived by SHA-256, with the processor's own rounds or without: the same hex digits."""

from __future__ import annotations

import hashlib

import pytest

from tests.native.beside import MODULE, needs_native

pytestmark = needs_native


@pytest.mark.parametrize("quick", [True, False])
def test_of_every_length_up_to_four_blocks_it_is_what_hashlib_says(quick):
    for length in range(257):
        data = hashlib.shake_256(b"%d" % length).digest(length)
        found, was_quick = MODULE.hashed(data, quick)
        assert found == hashlib.sha256(data).hexdigest()[: len(found)]
        assert len(found) == 32
        assert quick or not was_quick
