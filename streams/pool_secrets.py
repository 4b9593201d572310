"""The secret seeds of lotteries: from settings or files, checked against what was committed (D7).

A seed is looked for when it is first needed: in the setting `pool_secrets`, then in the file
`<pool_secrets_dir>/<pool_id>`, so that a pool defined while the workers run needs no restart.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from streams.domain import sample
from streams.errors import SecretRefused, UsageError
from streams.settings import hide

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.domain.pool import Pool
    from streams.settings import Settings

log = logging.getLogger(__name__)

_HEX = re.compile(r"[0-9a-f]{64}")


def new_seed(pool_id: str, out: Path) -> str:
    """Make a secret seed, for its owner alone (mode 0600); return what it commits to.

    Raises UsageError when the file is there already or cannot be written.
    """
    seed = secrets.token_bytes(sample.SEED_BYTES)
    try:
        place = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise UsageError(f"{out}: {error.strerror}; a seed is never overwritten") from None
    with os.fdopen(place, "w") as file:
        file.write(seed.hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    return sample.commitment(pool_id, seed)


def read_seed(text: str, source: str) -> bytes:
    """Return the 32 bytes of a seed written as 64 hex digits. Raises UsageError, without them."""
    text = text.strip()
    hide(text)
    if not _HEX.fullmatch(text):
        raise UsageError(f"{source}: a secret seed is 64 hex digits in small letters")
    return bytes.fromhex(text)


class Seeds:
    """`seeds(pool)` gives the secret seed of a lottery, or raises SecretRefused."""

    def __init__(self, settings: Settings) -> None:
        """Raises UsageError when `pool_secrets` is not lines of `<pool_id>=<64 hex digits>`."""
        self._directory = settings.pool_secrets_dir
        self._given: dict[str, bytes] = {}
        for number, line in enumerate((settings.pool_secrets or "").splitlines(), 1):
            pool_id, sign, seed = line.strip().partition("=")
            if sign:
                self._given[pool_id.strip()] = read_seed(seed, f"pool_secrets, line {number}")
            elif pool_id:
                hide(pool_id)  # whatever it is, it was meant to be secret
                raise UsageError(f"pool_secrets, line {number}: must be <pool_id>=<64 hex digits>")
        self._checked: dict[tuple[str, str], bytes] = {}

    def __call__(self, pool: Pool) -> bytes:
        known = self._checked.get((pool.pool_id, pool.commitment))
        return self._own(pool, self._found(pool)) if known is None else known

    def require(self, pools: Iterable[Pool], now_ms: int) -> None:
        """Refuse to start with a seed that is wrong, or missing for a pool not yet revealed.

        now_ms: the wall clock's. A pool whose reveal is long due may do without: its seed is public
        on `lottery-draws`, and the worker says so if it is wanted nevertheless.
        """
        for pool in pools:
            if pool.kind != "lottery":
                continue
            found = self._found(pool)
            over = pool.closes_at_ms is not None and (
                pool.closes_at_ms + pool.reveal_after_ms < now_ms
            )
            if found is None and over:
                log.warning("pool %s: no secret seed; it is over", pool.pool_id)
            else:
                self._own(pool, found)

    def _found(self, pool: Pool) -> bytes | None:
        known = self._given.get(pool.pool_id)
        if known is not None or self._directory is None:
            return known
        path = Path(self._directory) / pool.pool_id
        try:
            return read_seed(path.read_text(), str(path))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:  # ValueError: no text
            raise SecretRefused(f"pool {pool.pool_id}: {path}: {error}") from None

    def _own(self, pool: Pool, seed: bytes | None) -> bytes:
        """Return the seed that was found, once it is the pool's own; it is not looked at again."""
        if seed is None:
            raise SecretRefused(
                f"pool {pool.pool_id}: no secret seed; set pool_secrets_file, or "
                f"pool_secrets_dir to a directory with a file {pool.pool_id}"
            )
        committed = sample.commitment(pool.pool_id, seed)
        if committed != pool.commitment:
            raise SecretRefused(
                f"pool {pool.pool_id}: the secret seed does not match: it commits to {committed}, "
                f"the pool is committed to {pool.commitment}. Nothing was drawn with it"
            )
        self._checked[pool.pool_id, pool.commitment] = seed
        return seed
