"""Row 21: damaged files mean an older prefix or a rebuild, never a wrong row."""

from __future__ import annotations

import pytest

from tests.crash.damage import KINDS, damaged
from tests.crash.world import Options

ROW = {
    "log_tail_cut": "kept",
    "log_bit_flipped": "kept",
    "older_log_lost": "moved aside",
    "table_bit_flipped": "moved aside",
    "table_missing": "moved aside",
    "manifest_cut": "moved aside",
    "manifest_bit_flipped": "moved aside",
    "current_cut": "moved aside",
}
"""What each comes to as a rule; a cut manifest may also have lost nothing that counts."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=[f"row21-{kind}" for kind in KINDS])
def test_a_damaged_database_goes_back_or_is_rebuilt_and_ends_at_the_same_rows(tmp_path, kind):
    for seed in range(1, 8):
        options = Options.drawn(seed, records=1_500, batch_records=20, write_buffer=64 << 10)
        outcome = damaged(tmp_path / str(seed), options, kind)
        if outcome is not None:
            print(f"{kind}: seed {seed}: {outcome.told}")
            assert outcome.violations == []
            if ROW[kind] in outcome.told:
                return
    pytest.fail(f"void: {kind} never showed in seven tries")
