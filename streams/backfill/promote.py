"""A finished state directory becomes a worker's own, or it is refused and nothing was changed.

RocksDB is a cache of the changelog (D4), so a directory may take its place exactly where a restore
would have left it: L = V = C, its changelog position at the end, and no member of the group that
could move any of these meanwhile. And because what was told to the world depends on the order of
arrival, which a log without a journal does not hold, every row must be equal to the changelog's
newest one: L = C alone would let a ledger in that was never issued.
"""

from __future__ import annotations

import time
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from confluent_kafka import KafkaException

from streams import topics
from streams.backfill import plan as plans
from streams.backfill.runner import identity_of
from streams.errors import BrokerUnreachable, DiskError, Refused, UsageError
from streams.feed import client, preflight
from streams.feed.history import KafkaHistory
from streams.feed.ports import BrokerLost
from streams.store import meta
from streams.store.restore import READ_RECORDS, READ_S
from streams.store.rows import RESERVED, DiskStore, read_offsets, read_rows

if TYPE_CHECKING:
    from pathlib import Path

    from streams.backfill.plan import Plan
    from streams.settings import Settings

ANSWER_S = 15.0
SILENCE_S = 120.0
AGAIN = "Or fold the log again: `leidan backfill --into state --to-committed`"


class Fit(NamedTuple):
    """One partition that may be promoted: where its changelog ends, and V's batch."""

    partition: int
    rows: int
    changelog: int
    batch: int


def check(settings: Settings, directory: Path, target: Path) -> list[Fit]:
    """Return every partition's place. Raises Refused with the first reason against it."""
    plan = plans.load(directory)
    if plan.into != "state":
        raise Refused(
            f"{directory}: rows of a shadow, which has a changelog and a group of its own. Only a "
            "backfill --into state can be promoted"
        )
    found = preflight.check(settings)
    if (found.cluster, found.partitions) != (plan.cluster, plan.partitions):
        raise Refused(
            f"{directory}: folded from cluster {plan.cluster!r} with {plan.partitions} partitions; "
            f"connected to {found.cluster!r} with {found.partitions}. Connect to the right one"
        )
    _require_free(target, plan)
    require_inactive(settings)
    history = KafkaHistory(settings, lambda: False)
    try:
        return [_fit(history, directory, p) for p in range(plan.partitions)]
    except BrokerLost as error:
        raise BrokerUnreachable(str(error)) from error
    finally:
        history.close()


def move(settings: Settings, directory: Path, target: Path, fits: list[Fit]) -> None:
    """Write each changelog position into its rows, then rename them to where the worker looks."""
    plan = plans.load(directory)
    require_inactive(settings)  # again: checking took its time
    store = DiskStore(directory / "users", identity_of(plan, settings))
    for fit in fits:
        rows = store.open(fit.partition)
        try:
            rows.write(
                {meta.BACKFILL: None},
                next_offsets=None,
                changelog=fit.changelog,
                batch=fit.batch,
            )
        finally:
            rows.close()
    try:
        (target / "users").mkdir(parents=True, exist_ok=True)
        for fit in fits:
            for name in (f"{fit.partition}.identity.json", str(fit.partition)):
                (directory / "users" / name).rename(target / "users" / name)
    except OSError as error:
        raise DiskError(
            f"{target}: {error}. What was moved is whole: a worker restores the rest"
        ) from error


def _require_free(target: Path, plan: Plan) -> None:
    taken = [p for p in range(plan.partitions) if (target / "users" / str(p)).exists()]
    if taken:
        raise UsageError(
            f"{target}: has rows of partitions {taken}; move them aside first, nothing is "
            "overwritten"
        )


def require_inactive(settings: Settings) -> None:
    """Refuse while the live group has a member, or where the broker cannot say."""
    admin = client.admin(settings)
    try:
        asked = admin.describe_consumer_groups([settings.group], request_timeout=ANSWER_S)
        found = asked[settings.group].result(ANSWER_S)
    except KafkaException as error:
        raise Refused(
            f"group {settings.group}: the broker does not say whether a worker runs "
            f"({error.args[0].str()}); without that no row is moved"
        ) from error
    if found.members:
        names = sorted(member.group_instance_id or member.member_id for member in found.members)
        raise Refused(
            f"group {settings.group}: {len(names)} workers run ({', '.join(names)}). Stop them "
            "first: what they commit meanwhile would be missing in the rows. A static member is "
            f"gone {settings.session_timeout_ms / 1_000:g} s after it was stopped"
        )


def _fit(history: KafkaHistory, directory: Path, p: int) -> Fit:
    path = directory / "users" / str(p)
    local = read_offsets(path) if path.is_dir() else None
    if local is None:
        raise Refused(f"partition {p}: was never folded; finish it: `leidan backfill --resume`")
    committed = history.committed(p, topics.FOLDED)  # C, stable
    low = history.low_watermarks(p, topics.FOLDED)
    if {**low, **local} != {**low, **committed}:
        raise Refused(
            f"partition {p}: the rows are at {local}, the group has committed {committed}. Finish "
            "the backfill (--resume), or let the workers fold up to there and stop them. "
            f"{AGAIN}"
        )
    _, end = history.high_watermark(topics.CHANGELOG, p)
    version, newest = _changelog(history, p, end)
    if version is None or {**low, **version.next} != {**low, **committed}:
        said = None if version is None else version.next
        raise Refused(
            f"partition {p}: the changelog was written at {said}, but {committed} are committed. "
            "Offsets were moved by hand, or the changelog was lost; rows cannot take its place"
        )
    return Fit(p, _require_equal(p, path, newest), end, version.batch)


def _changelog(
    history: KafkaHistory, p: int, end: int
) -> tuple[meta.Meta | None, dict[bytes, bytes]]:
    """Read one partition; return V and a hash of each key's newest row: 100 bytes a user.

    Whatever else lies under reserved keys (by which definitions rows are dated) is a partition's
    own, and rows on disk have their own too.
    """
    start, _ = history.high_watermark(topics.CHANGELOG, p)
    newest: dict[bytes, bytes] = {}
    version, position, moved_s = None, start, time.monotonic()
    if start < end:
        history.seek(topics.CHANGELOG, p, start)
    while position < end:
        for record in history.read(READ_RECORDS, READ_S):
            if record.key == meta.META and record.value is not None:
                version = meta.decode_meta(record.value)
            elif record.key is None or record.key.startswith(RESERVED):
                continue
            elif record.value is None:
                newest.pop(record.key, None)
            else:
                newest[record.key] = _hash(record.value)
        if history.position() > position:
            position, moved_s = history.position(), time.monotonic()
        elif time.monotonic() - moved_s > SILENCE_S:
            raise BrokerUnreachable(
                f"{topics.CHANGELOG}[{p}]: silent for {SILENCE_S:.0f} s at {position} of {end}"
            )
    return version, newest


def _require_equal(p: int, path: Path, newest: dict[bytes, bytes]) -> int:
    """Return how many rows there are. Raises Refused at the first that differs."""
    count = 0
    why = (
        "The log was folded in another order than live (no journal), with other campaign files, or "
        "by other rules. Leave it to the worker: it restores its rows from the changelog"
    )
    for key, value in read_rows(path):
        count += 1
        if newest.pop(key, None) != _hash(value):
            raise Refused(f"partition {p}: the row of {key!r} is not the changelog's. {why}")
    if newest:
        raise Refused(f"partition {p}: no row of {min(newest)!r}, the changelog has one. {why}")
    return count


def _hash(row: bytes) -> bytes:
    return blake2b(row, digest_size=16).digest()
