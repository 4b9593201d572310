"""`backfill --into live`: what a person can ask of it that it does not do."""

from __future__ import annotations

import pytest

from streams.errors import Exit
from tests.cli.conftest import leidan, require_one_clear_message


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--from-time", "2026-01-01T00:00:00Z"), "--from-time: not with --into live"),
        (("--order", "time"), "--order time: not with --into live"),
        (("--state-dir", "tests"), "is not empty"),
    ],
)
def test_what_it_does_not_do_is_one_clear_message_before_any_broker_is_asked(tmp_path, flags, said):
    begin = ("backfill", "--into", "live", "--state-dir", tmp_path / "new")
    ran = leidan(*begin, "--bootstrap-servers", "127.0.0.1:1", *flags)
    assert ran.code == Exit.USAGE, ran.err
    require_one_clear_message(ran)
    assert said in ran.err
