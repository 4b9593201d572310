"""The invariants of reliability.md 6, checked on what a reader can see: one package for every tier.

Nothing here asks the engine. The logs are read read_committed, RocksDB is opened read-only, what a
user should have is worked out by `tests/models/users.py`, which shares no code with the fold. Only
`fold.py` calls the fold, on purpose: is what stands there what it makes of the log? And `pools`
reads what its rows say users were granted.

    evidence = gather(topics, group, state_dirs)     # after wait_drained and wait_settled
    report = check(evidence, definitions)
    report.require_clean()

| Module | What it checks |
|---|---|
| `events` | I1 no event twice, seq 1, 2, 3; nothing readable disappears |
| `money` | I2 net of the ledger == set model, I3 money, I5 public records of lotteries |
| `pools` | I5 requests answered once, one draw a chance; with the fold: stock and budgets |
| `causes` | I4 every output's cause |
| `rows` | I7 every database is a prefix of the changelog |
| `positions` | I8 offsets, I9 no open transaction, I12's part: nothing readable is left |
| `dead_letters` | I10 |
| `refold` | with the fold: I2 and I7 record for record, I11 the same log gives the same outputs |
| `ticks` | I14 no tick ahead of what it waits for |
| `versions` | with the fold: I6 versions count events |

`evidence` is what they look at, `findings` what they say, `transactions` the changelog cut up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.checker.causes import cause_at, cause_is, causes_exist
from tests.checker.dead_letters import dead_letters_are_the_bad_ones
from tests.checker.events import each_event_once, nothing_unseen, seq_without_gap
from tests.checker.evidence import (
    CHANGELOG,
    META,
    At,
    Bad,
    Database,
    Entry,
    Evidence,
    Position,
    Seen,
    gather,
    open_databases,
)
from tests.checker.findings import BROKEN, LOST, SPURIOUS, TWICE, Finding, Report
from tests.checker.fold import Fold
from tests.checker.money import (
    books_balance,
    expected,
    money_is_conserved,
    net_equals_the_set_model,
    standing,
    stock_is_never_oversold,
)
from tests.checker.pools import each_request_is_answered_once, requests_are_made_once
from tests.checker.positions import no_open_transaction, nothing_left_to_read, offsets_agree
from tests.checker.refold import (
    rows_and_outputs_are_the_fold,
    same_log_same_outputs,
    still_bad,
)
from tests.checker.rows import rows_are_the_changelog
from tests.checker.ticks import ticks_wait_for_their_ends
from tests.checker.versions import versions_count_events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.checker.fold import Definitions

__all__ = [
    "BROKEN",
    "CHANGELOG",
    "LOST",
    "META",
    "SPURIOUS",
    "TWICE",
    "At",
    "Bad",
    "Database",
    "Entry",
    "Evidence",
    "Finding",
    "Position",
    "Report",
    "Seen",
    "books_balance",
    "cause_at",
    "cause_is",
    "check",
    "check_with_fold",
    "each_event_once",
    "expected",
    "gather",
    "open_databases",
    "seq_without_gap",
    "standing",
]


def check(
    evidence: Evidence,
    definitions: Sequence[dict[str, Any]],
    *,
    bad: Bad | None = None,
) -> Report:
    """Check what any engine must hold: I1 to I4, I9, I10; with a changelog I7 and I8 too.

    definitions: parsed campaign definitions, in force as written.
    bad: (topic, partition, offset) -> reason of inputs that must be dead letters; no other may.
    """
    bad = dict(bad or {})
    report = Report()
    ledger = [Entry.of(seen) for seen in evidence.outputs["rewards"]]
    said = [Entry.of(seen) for seen in evidence.outputs.get("task-events", ())]
    no_open_transaction(report, evidence)
    nothing_unseen(report, evidence)
    each_event_once(report, [*ledger, *said])
    seq_without_gap(report, ledger)
    due = expected(evidence, definitions, bad)
    net_equals_the_set_model(report, ledger, due, definitions)
    money_is_conserved(report, ledger, due, definitions)
    causes_exist(report, evidence, [*ledger, *said])
    dead_letters_are_the_bad_ones(report, evidence, bad)
    if CHANGELOG in evidence.outputs:
        offsets_agree(report, evidence)
        rows_are_the_changelog(report, evidence)
        nothing_left_to_read(report, evidence)
        ticks_wait_for_their_ends(report, evidence)
        requests_are_made_once(report, evidence)
        each_request_is_answered_once(report, evidence, bad)
    stock_is_never_oversold(report, evidence)
    return report


def check_with_fold(
    evidence: Evidence,
    definitions: Sequence[dict[str, Any]],
    files: Definitions,
    *,
    bad: Bad | None = None,
) -> Report:
    """`check`, and that rows and outputs are what the fold makes of the log, byte for byte.

    files: the definitions again, where the fold reads them from, or as it has read them. The set
    model says that the rules are right; this says that the engine around the fold lost, repeated
    and mixed nothing up.
    """
    bad = still_bad(evidence, files, bad or {})
    report = check(evidence, definitions, bad=bad)
    rows_and_outputs_are_the_fold(report, evidence, files)
    versions_count_events(report, evidence, dates=bool(Fold(files).campaigns.dates))
    same_log_same_outputs(report, evidence, files, bad)
    return report
