"""How dead letters are told: as a line, as JSON, as text and hex; and what came of a replay."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from streams.cli.terminal import emit, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.dlq.chosen import Decided
    from streams.dlq.deciding import Left
    from streams.wire.dead_letters import Letter

SHOWN = 100  # of those left out
CANARY = (
    "begin with --limit 20 --wait 30: what is refused again counts against the workers' budget of "
    "dead letters, and 200 in a row stop them (65)"
)


def counted(letters: list[Letter], left: list[Left], *, key: str) -> dict[str, Any]:
    return {
        key: len(letters),
        "by_reason": dict(Counter(one.reason for one in letters)),
        "by_topic": dict(Counter(one.origin.topic for one in letters if one.origin)),
        "left_out": [{"letter": one.letter.place, "because": one.because} for one in left],
    }


def print_reasons(told: dict[str, Any]) -> None:
    for name, count in sorted(told["by_reason"].items()):
        click.echo(f"{count:>8,}  {name}")


def tell_replay(
    told: dict[str, Any], left: list[Left], again: list[Letter], *, executed: bool, as_json: bool
) -> None:
    if as_json:
        emit(told)
    else:
        print_reasons(told)
        if executed:
            click.echo(f"{told['replayed']} replayed, {len(left)} left out")
        else:
            click.echo(f"{told['would_replay']} would be replayed, {len(left)} left out")
    for one in left[:SHOWN]:
        say(f"{one.letter.place}: {one.because}")
    for letter in again[:SHOWN]:
        why = f"{letter.reason} {letter.detail}"
        say(f"{letter.replay_of}: refused again as {letter.place}: {why}")
    if at := told.get("not_folded_yet"):
        say(f"not folded yet: {', '.join(at)}; look at the workers, then: leidan dlq list")
    if not executed and told["would_replay"]:
        say(f"nothing was changed; add --execute. {CANARY}")


def plain(letter: Letter, decided: Decided) -> dict[str, Any]:
    from streams.domain.days import Calendar
    from streams.wire.dead_letter_decisions import plain as plain_decision

    decision = decided.of(letter)
    return {
        "letter": letter.place,
        "state": decided.state(letter),
        "reason": letter.reason,
        "detail": letter.detail,
        "refused_at": Calendar("UTC").text(letter.written_ms),
        "origin": letter.origin and letter.origin._asdict(),
        "user_id": letter.user_id,
        "attempt": letter.attempt,
        "app_version": letter.version,
        "headers_of": letter.dialect,
        "bytes": letter.bytes,
        "decision": None if decision is None else plain_decision(decision),
    }


def line(letter: Letter, state: str) -> str:
    from streams.domain.days import Calendar

    at = Calendar("UTC").text(letter.written_ms)
    origin = letter.origin or "(names no record)"
    tried = f" attempt {letter.attempt}" if letter.attempt > 1 else ""
    decided = "" if state == "open" else f" [{state}]"
    detail = f": {letter.detail}" if letter.detail else ""
    return (
        f"{letter.place}  {at}  {letter.reason}  {origin}  {letter.user_id or '(no key)'}"
        f"{tried}{decided}{detail}"
    )


def group(letter: Letter, by: str | None, state: str) -> str:
    from streams.domain.days import HOUR_MS, Calendar

    match by:
        case "reason":
            return letter.reason
        case "topic":
            return letter.origin.topic if letter.origin else "(names no record)"
        case "user":
            return letter.user_id or "(no key)"
        case "hour":
            return Calendar("UTC").text(letter.written_ms // HOUR_MS * HOUR_MS)
        case "version":
            return letter.version or "(unknown)"
        case _:
            return state


MOST_SHOWN = 2_000  # characters of a value
MOST_HEX = 512
FIRST, LAST = 0x20, 0x7E  # printable ASCII


def printable(value: bytes) -> str:
    """Return it as text on one line; what could move a terminal is written as an escape."""
    text = value[: 4 * MOST_SHOWN].decode(errors="backslashreplace")
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown if len(shown) <= MOST_SHOWN else f"{shown[:MOST_SHOWN]}... ({len(value)} bytes)"


def both(value: bytes | None) -> dict[str, Any]:
    """Return bytes for JSON: as text where they are text, and always as hex."""
    given = value or b""
    try:
        text: str | None = given.decode()
    except UnicodeDecodeError:
        text = None
    return {"text": text, "hex": given.hex()}


def hex_lines(value: bytes) -> Iterator[str]:
    for begin in range(0, min(len(value), MOST_HEX), 16):
        part = value[begin : begin + 16]
        seen = "".join(chr(byte) if FIRST <= byte <= LAST else "." for byte in part)
        yield f"  {begin:06x}  {part.hex(' '):<47}  {seen}"
    if len(value) > MOST_HEX:
        yield f"  ... {len(value)} bytes in all; --json has them"
