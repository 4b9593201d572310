"""`leidan makegood`: after a bug in the rules, what to issue and what to take back."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streams.cli import campaign
from streams.cli.connection import config_option, how_to_connect
from streams.cli.terminal import emit, say
from streams.errors import Exit, Refused, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.connect import Values
    from streams.feed.ports import Outgoing
    from streams.replay.makegood import Proposal
    from streams.replay.sheet import Sheet

CATCH_UP = (
    "Let the workers catch up first: what they have not read yet is proposed too. It does no harm, "
    "their commands have the same ids."
)
AGAIN = "Run it once more afterwards, until it proposes nothing: later cancellations may need it."


@click.command()
@click.option("--bootstrap-servers", metavar="HOST:PORT", help="The brokers that hold the log.")
@click.option("--topic-prefix", default="", help="Put before every topic's name.")
@config_option
@click.option("--app-id", default="leidan", show_default=True, help="That of the workers.")
@click.option(
    "--campaigns",
    "known_files",
    multiple=True,
    metavar="FILE",
    help="Definitions beside those of the topic; default: the workers' `campaign_files`.",
)
@click.option("--out", metavar="FILE", help="Propose: write the proposals here, to be reviewed.")
@click.option("--approve", metavar="FILE", help="Sign the lines of FILE, once they are reviewed.")
@click.option("--reviewer", metavar="NAME", help="Who has reviewed them; with --approve.")
@click.option(
    "--emit", "emit_file", metavar="FILE", help="Emit what an approved FILE says: a plan."
)
@click.option("--execute", is_flag=True, help="With --emit: do it.")
@click.option("--json", "as_json", is_flag=True, help="One object on stdout.")
def makegood(
    bootstrap_servers: str | None,
    topic_prefix: str,
    config: str | None,
    app_id: str,
    known_files: tuple[str, ...],
    out: str | None,
    approve: str | None,
    reviewer: str | None,
    emit_file: str | None,
    execute: bool,
    as_json: bool,
) -> None:
    """Propose, review and emit the rewards that a bug in the rules has cost or given away.

    First deploy the rules put right, then three steps: --out folds the log with the rules of this
    version and writes a line for each reward that is missing or in excess; somebody reads it, takes
    lines out, and signs with --approve; --emit --execute writes what is left onto the live topic.
    Run again, it writes nothing twice. What the topic has merely lost, though the workers had given
    it, is `leidan backfill --into live`: that needs no review.

    Exit status: 0 nothing to emit, or done; 1 something is proposed, or outdated by now; 2 usage,
    or a file nobody has approved; 4 no broker; 75 another one took over; 78 refused.
    """
    from streams import settings

    if sum(map(bool, (out, approve, emit_file))) != 1:
        raise UsageError("give one of --out FILE, --approve FILE, --emit FILE")
    if execute and not emit_file:
        raise UsageError("--execute goes with --emit FILE")
    if approve:
        if not reviewer or not reviewer.strip():
            raise UsageError("--approve needs --reviewer NAME: somebody must have read it")
        _approve(Path(approve), reviewer.strip(), as_json=as_json)
        return
    if not bootstrap_servers:
        raise UsageError("--bootstrap-servers is needed to read the log")
    client = how_to_connect(config)
    if out:
        code = _propose(
            Path(out),
            bootstrap_servers,
            topic_prefix,
            client,
            known_files or settings.load(config).campaign_files,
            as_json=as_json,
        )
    else:
        code = _emit(
            Path(emit_file or ""),
            bootstrap_servers,
            topic_prefix,
            client,
            app_id,
            execute=execute,
            as_json=as_json,
        )
    raise SystemExit(code)


def _propose(
    path: Path,
    bootstrap: str,
    prefix: str,
    client: Values,
    known_files: tuple[str, ...],
    *,
    as_json: bool,
) -> Exit:
    from streams.domain.days import Calendar
    from streams.domain.registry import Campaigns
    from streams.replay import makegood as replay
    from streams.replay import sheet
    from streams.replay.past import KafkaPast
    from streams.topics import DRAW_RESULTS, REWARDS

    known = campaign.read_all(known_files)
    found, now_ms = replay.Found(), int(time.time() * 1000)
    with KafkaPast(
        bootstrap, prefix, client, known, said=replay.READ, first=(REWARDS, DRAW_RESULTS)
    ) as past:
        for said in past.resized():
            raise Refused(f"{said}. What they are owed is in the rows; nothing can be proposed")
        campaigns = Campaigns.of(past.definitions())
        head = sheet.Head(
            sheet.VERSION, past.cluster, prefix, Calendar("UTC").text(now_ms), list(past.notes)
        )
        sheet.write(path, head, replay.propose(past, campaigns, now_ms, found))
    proposals = sheet.read(path).proposals
    told = _summary(proposals) | {
        "records": found.records,
        "rewards_compared": found.rewards,
        "requests_without_answer": found.unanswered,
        "file": str(path),
    }
    if as_json:
        emit(told)
    else:
        click.echo(f"{found.records:,} records folded, {found.rewards:,} rewards compared")
        _print(proposals)
    for note in head.notes:
        say(note)
    if found.unanswered:
        say(
            f"{found.unanswered} requests to pools come of these rules alone and were never "
            "answered: what waits for them is not proposed"
        )
    if not proposals:
        path.unlink()
        say("nothing to make good; no file is left")
        return Exit.OK
    if not any(one.record for one in proposals):
        say(f"nothing to emit; why these are only told stands in {path}, in `reason`")
        return Exit.OK
    say(CATCH_UP)
    say(f"next: read {path}, take out what should not be; then:")
    say(f"      leidan makegood --approve {path} --reviewer NAME")
    return Exit.DIFFERENT


def _approve(path: Path, reviewer: str, *, as_json: bool) -> None:
    from streams.replay import sheet

    approved = sheet.approve(path, reviewer)
    digest = approved.approval.digest if approved.approval else ""
    if as_json:
        told = {"file": str(path), "reviewed_by": reviewer, "digest": digest}
        emit(_summary(approved.proposals) | told)
    else:
        _print(approved.proposals)
        click.echo(f"approved by {reviewer}: {digest}")
    say(f"next: leidan makegood --bootstrap-servers ... --emit {path} --execute")


def _emit(
    path: Path,
    bootstrap: str,
    prefix: str,
    client: Values,
    app_id: str,
    *,
    execute: bool,
    as_json: bool,
) -> Exit:
    from streams.feed.emitter import Emitter
    from streams.replay import sheet

    reviewed = sheet.read(path)
    digest = sheet.require_approved(path, reviewed)
    emitter = Emitter(bootstrap, app_id, prefix, client) if execute else None
    new, there, outdated = _left(reviewed, bootstrap, prefix, client)
    if emitter is not None:
        emitter.emit([_outgoing(one, digest) for one in new])
    told = {
        "emitted" if execute else "would_emit": len(new),
        "there_already": len(there),
        "outdated": len(outdated),
        **_summary(new),
    }
    if as_json:
        emit(told)
    else:
        _print(new)
        said = "emitted" if execute else "would be emitted; --execute does it"
        click.echo(f"{len(new)} {said}; {len(there)} are there already")
    for one in outdated:
        say(f"{one.reward_id}: has moved on since it was proposed; propose again")
    if execute:
        say(AGAIN)
    return Exit.DIFFERENT if outdated else Exit.OK


def _left(
    reviewed: Sheet, bootstrap: str, prefix: str, client: Values
) -> tuple[list[Proposal], list[Proposal], list[Proposal]]:
    """Return what is to be emitted, what is on the topic already, and what does not fit any more.

    Raises Refused when the file is about another broker or other topics.
    """
    import orjson

    from streams.replay.past import KafkaPast
    from streams.topics import REWARDS

    wanted = [one for one in reviewed.proposals if one.record is not None]
    rewards = {one.reward_id for one in wanted}
    newest: Counter[str] = Counter()
    ids: set[str] = set()
    with KafkaPast(bootstrap, prefix, client, said=(REWARDS,)) as past:
        head = reviewed.head
        if (head.cluster, head.topic_prefix) != (past.cluster, prefix):
            raise Refused(
                f"the file is about cluster {head.cluster}, topics {head.topic_prefix}*; this is "
                f"{past.cluster}, {prefix}*. Give the brokers and --topic-prefix it was made from"
            )
        for record in past.records(past.partitions):
            body = orjson.loads(record.value or b"null")
            if body.get("reward_id") in rewards and "seq" in body:
                ids.add(body["event_id"])
                if body["type"] != "reward.adjusted":
                    newest[body["reward_id"]] = max(newest[body["reward_id"]], body["seq"])
    new: list[Proposal] = []
    there: list[Proposal] = []
    outdated: list[Proposal] = []
    for one in wanted:
        assert one.record is not None
        if one.record["event_id"] in ids:
            there.append(one)
        elif one.record["seq"] == newest[one.reward_id] + 1:
            new.append(one)
            newest[one.reward_id] += 1
        else:
            outdated.append(one)
    return new, there, outdated


def _outgoing(one: Proposal, digest: str) -> Outgoing:
    """Return the record as a worker would write it, with the digest of the file it comes from."""
    from streams.domain.outputs import Output
    from streams.feed.ports import Record
    from streams.replay.said import MAKEGOOD_DIGEST
    from streams.topics import REWARDS
    from streams.wire.outputs import encode

    body = one.record
    assert body is not None
    topic, _, place = one.cause.partition("[")
    partition, _, offset = place.partition("]@")
    cause = Record(topic, int(partition), int(offset), None, None, [], 0)
    sent = encode(Output(REWARDS, body["type"], body["event_id"], one.user_id, body), cause)
    return sent._replace(headers=[*sent.headers, (MAKEGOOD_DIGEST, digest.encode())])


def _summary(proposals: Iterable[Proposal]) -> dict[str, dict[str, int]]:
    """Return lines by action, and by currency what they pay in all."""
    minor: Counter[str] = Counter()
    actions: Counter[str] = Counter()
    for one in proposals:
        actions[one.action] += 1
        minor[one.currency] += one.minor
    return {"actions": dict(sorted(actions.items())), "minor": dict(sorted(minor.items()))}


MEANING = {"issue": "missing", "revoke": "in excess", "none": "told only: nothing is emitted"}


def _print(proposals: list[Proposal]) -> None:
    told = _summary(proposals)
    for action, count in told["actions"].items():
        click.echo(f"{action:<8}{count:>8,}  {MEANING.get(action, '')}")
    for currency, minor in told["minor"].items():
        click.echo(f"{'in all':<8}{minor:>+8,}  {currency} (minor units)")
