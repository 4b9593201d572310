"""`leidan lottery`: commit to a seed, draw again, see the reveal, and prove every public record."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson

from streams.cli.connection import config_option, how_to_connect
from streams.cli.terminal import emit, say
from streams.errors import Exit, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from streams.domain.pool import Pool
    from streams.domain.verify import Verified

    Lines = Callable[[], Iterator[bytes]]

seed_option = click.option(
    "--seed-file", metavar="FILE", help="The secret seed, as `lottery commit` has made it."
)
json_option = click.option("--json", "as_json", is_flag=True, help="One object on stdout.")


@click.group()
def lottery() -> None:
    """Lotteries: anybody can prove them from the topic lottery-draws alone.

    Exit status: 0 done, 2 usage, 3 a record is not what the rules make of it, 4 no broker,
    78 the broker refuses us, or topics are missing.
    """


@lottery.command()
@click.argument("pool_id")
@click.option("--out", metavar="FILE", required=True, help="The secret goes here; mode 0600.")
@json_option
def commit(pool_id: str, out: str, as_json: bool) -> None:
    """Make a secret seed for POOL_ID; print what it commits to, for the pool's definition.

    Exit status: 0 made, 2 the file is there already or cannot be written.
    """
    from streams.pool_secrets import new_seed

    commitment = new_seed(pool_id, Path(out))
    if as_json:
        emit({"pool_id": pool_id, "commitment": commitment, "file": out})
    else:
        click.echo(f'"commitment":"{commitment}"')
        say(f"{out} holds the secret seed of {pool_id}: lost, the pool cannot draw; read by")
        say("somebody before the reveal, that one knows every draw. Name it to the workers with")
        say("pool_secrets_dir or pool_secrets_file.")


@lottery.command()
@click.argument("definition", metavar="POOL.json")
@click.option("--seed-file", metavar="FILE", help="The secret seed.")
@click.option("--seed", metavar="HEX", help="The seed as it was revealed; never a secret one.")
@click.option("--task-id", required=True, help="The task whose chance it is.")
@click.option("--step", required=True, help="The chance's label.")
@click.option("--odds-version", type=int, default=1, show_default=True)
@json_option
def draw(
    definition: str,
    seed_file: str | None,
    seed: str | None,
    task_id: str,
    step: str,
    odds_version: int,
    as_json: bool,
) -> None:
    """Draw one chance again, and show how its ticket comes about.

    What was given depends on the draws before it, too: `lottery verify` proves that.

    Exit status: 0 drawn, 2 the definition or seed cannot be read, 3 the seed is not the pool's.
    """
    from streams.domain import ids, sample
    from streams.domain.draws import hit_of

    pool = _pool(definition)
    secret = _seed(seed_file, seed)
    if secret is None:
        raise UsageError("the seed is needed: --seed-file, or --seed once it is revealed")
    _require_own(pool, secret)
    odds = next((each for each in pool.odds if each.odds_version == odds_version), None)
    if odds is None:
        raise UsageError(f"{definition}: no odds version {odds_version}")
    ticket, counter = sample.ticket(
        secret, pool.pool_id, odds_version, task_id, step, odds.denominator
    )
    lines = ["leidan/draw/1", pool.pool_id, str(odds_version), task_id, step, str(counter)]
    found = {
        "draw_id": ids.draw_id(task_id, step),
        "lines": lines,
        "counter": counter,
        "ticket": ticket,
        "denominator": odds.denominator,
        "hit": hit_of(odds, ticket),
    }
    if as_json:
        emit(found)
        return
    click.echo(f"draw     {found['draw_id']}")
    click.echo(f"HMAC-SHA256 by the seed over the lines {', '.join(lines)}")
    click.echo(f"rejected {counter} before it")
    click.echo(f"ticket   {ticket} of {odds.denominator}")
    below = 0
    for each in odds.weights:
        click.echo(f"  {below}..{below + each.weight - 1} {each.prize_id}")
        below += each.weight
    click.echo(f"hit      {found['hit'] or 'nothing'}")


@lottery.command()
@click.argument("definition", metavar="POOL.json")
@seed_option
@json_option
def reveal(definition: str, seed_file: str | None, as_json: bool) -> None:
    """Print the seed of a pool whose time of reveal has come; it is refused before.

    Workers publish it on lottery-draws by themselves, at the first tick after that time; this is
    for those who ask earlier than they read. A pool closed early is revealed earlier, too: read
    its draw.revealed.

    Exit status: 0 printed, 2 it is too early or cannot be read, 3 the seed is not the pool's.
    """
    from streams.domain.pool_records import UTC

    pool = _pool(definition)
    secret = _seed(seed_file, None)
    if secret is None:
        raise UsageError("the seed is needed: --seed-file")
    _require_own(pool, secret)
    due_ms = (pool.closes_at_ms or 0) + pool.reveal_after_ms
    if time.time() * 1_000 < due_ms:
        raise UsageError(f"{pool.pool_id} is revealed at {UTC.text(due_ms)}, not earlier")
    if as_json:
        emit({"pool_id": pool.pool_id, "commitment": pool.commitment, "seed": secret.hex()})
    else:
        click.echo(secret.hex())


@lottery.command()
@click.argument("pool_ids", nargs=-1, metavar="[POOL_ID]...")
@click.option("--bootstrap-servers", metavar="HOST:PORT", help="Read lottery-draws there.")
@click.option("--file", "path", metavar="FILE", help="Or values of records, one a line.")
@click.option(
    "--topic-prefix", "prefixes", multiple=True,
    help="Put before the topic's name. Of a deployment that was resized: each, the oldest first.",
)  # fmt: skip
@config_option
@seed_option
@json_option
def verify(
    pool_ids: tuple[str, ...],
    bootstrap_servers: str | None,
    path: str | None,
    prefixes: tuple[str, ...],
    config: str | None,
    seed_file: str | None,
    as_json: bool,
) -> None:
    """Prove the lotteries of POOL_ID... (all) from their public records.

    Commitment, digests, order, tickets, hits, what was given, stock, budget, and that nothing was
    changed afterwards. The first record that is wrong is named. Before the reveal, tickets and
    release times can be checked with --seed-file only.

    Exit status: 0 all is as the rules make it, 2 no such records, 3 a mismatch, 4 no broker,
    78 the broker refuses us, or topics are missing.
    """
    if (bootstrap_servers is None) == (path is None):
        raise UsageError("give either --bootstrap-servers or --file")
    lines: Lines
    if path is not None:
        lines = _file(Path(path))
    else:
        lines = _topic(str(bootstrap_servers), prefixes or ("",), config)
    found = proved(lines, set(pool_ids), _seed(seed_file, None))
    for pool_id in pool_ids:
        if pool_id not in found:
            raise UsageError(f"no public record of pool {pool_id}")
    if not found:
        raise UsageError("no public record at all")
    wrong = {pool_id: result for pool_id, result in found.items() if isinstance(result, str)}
    if as_json:
        emit(
            {
                "pools": [r._asdict() for r in found.values() if not isinstance(r, str)],
                "mismatches": [{"pool_id": p, "mismatch": text} for p, text in wrong.items()],
            }
        )
    for pool_id, result in sorted(found.items()):
        if isinstance(result, str):
            say(f"{pool_id}: {result}")
        elif not as_json:
            more = "" if result.revealed else "; not revealed yet"
            click.echo(
                f"{pool_id}: {result.records} records, {result.draws} draws, {result.won} won: "
                f"all as the rules make it{more}"
            )
    raise SystemExit(Exit.VERIFICATION if wrong else Exit.OK)


def proved(
    lines: Lines, only: Collection[str] = (), seed: bytes | None = None
) -> dict[str, Verified | str]:
    """Return by pool what held, or the first mismatch as text. Reads the records twice.

    lines: the values of `lottery-draws` as they stand there. only: these pools; none: all.
    """
    from streams.domain.verify import Mismatch, Verifier, revealed_seed

    seeds: dict[str, bytes] = {}
    for line in lines():
        if b'"draw.revealed"' in line:
            revealed = revealed_seed([line])
            if revealed is not None:
                seeds.setdefault(_pool_id(line), revealed)
    verifiers: dict[str, Verifier] = {}
    found: dict[str, Verified | str] = {}
    for line in lines():
        pool_id = _pool_id(line)
        if (only and pool_id not in only) or pool_id in found:
            continue
        if pool_id not in verifiers:
            verifiers[pool_id] = Verifier(seeds.get(pool_id, seed))
        try:
            verifiers[pool_id].take(line)
        except Mismatch as wrong:
            found[pool_id] = str(wrong)
    for pool_id, verifier in verifiers.items():
        if pool_id not in found:
            found[pool_id] = verifier.result()
    return found


def _pool_id(line: bytes) -> str:
    """Return whose record this is; of what is none, a name that no pool has."""
    try:
        pool_id = orjson.loads(line)["pool_id"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "(unreadable)"
    return pool_id if isinstance(pool_id, str) else "(unreadable)"


def _file(path: Path) -> Lines:
    def read() -> Iterator[bytes]:
        try:
            with path.open("rb") as file:
                for line in file:
                    if line.strip():
                        yield line.rstrip(b"\r\n")
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from None

    return read


def _topic(bootstrap: str, prefixes: tuple[str, ...], config: str | None) -> Lines:
    from streams.demo.reading import Reader
    from streams.topics import LOTTERY_DRAWS

    client = how_to_connect(config)

    def read() -> Iterator[bytes]:
        for prefix in prefixes:
            with Reader(bootstrap, prefix, client) as reader:
                for record in reader.all_of([LOTTERY_DRAWS]):
                    yield record.value or b""

    return read


def _pool(path: str) -> Pool:
    """Return the lottery that a file defines. Raises UsageError."""
    from streams.domain.verify import Mismatch, published_pool

    try:
        definition = orjson.loads(Path(path).read_bytes())
        return published_pool(definition, str(definition["commitment"]))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (Mismatch, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: no definition of a lottery: {error}") from None


def _seed(path: str | None, revealed: str | None) -> bytes | None:
    from streams.pool_secrets import read_seed

    if path is None:
        return None if revealed is None else read_seed(revealed, "--seed")
    try:
        text = Path(path).read_text()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from None
    return read_seed(text, path)


def _require_own(pool: Pool, seed: bytes) -> None:
    from streams.domain import sample

    found = sample.commitment(pool.pool_id, seed)
    if found != pool.commitment:
        say(f"{pool.pool_id}: the seed commits to {found}, the pool to {pool.commitment}")
        raise SystemExit(Exit.VERIFICATION)
