"""`leidan campaign show` and `calendar`: what definitions say with every default, and when."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click
import orjson

from streams.cli import campaign as definitions
from streams.cli.given import meant, settings_of, settings_option
from streams.cli.moments import moment
from streams.cli.terminal import emit, say
from streams.errors import Exit, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from streams.domain.campaign import Campaign
    from streams.domain.definition import Definition

MOST_DAYS = 40  # of a window on the screen; --json has all


def _from(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what both verbs share: where definitions come from, and which are meant."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="One object on stdout."),
        settings_option,
        click.option("--topic-prefix", help="Put before every topic's name."),
        click.option(
            "--bootstrap-servers", metavar="HOST:PORT", help="Those in force on `campaigns`, too."
        ),
        click.option("--campaign", "campaign_id", metavar="ID", help="This one alone."),
        click.argument("files", nargs=-1, metavar="[FILE]..."),
    ):
        function = option(function)
    return function


@definitions.campaign.command()
@_from
def show(
    files: tuple[str, ...],
    campaign_id: str | None,
    bootstrap_servers: str | None,
    topic_prefix: str | None,
    config: str | None,
    as_json: bool,
) -> None:
    """Show what definitions say: a sentence, then every field, those left to their default too.

    Of FILEs, of a broker's topic `campaigns` (what is refused there is left out), or of both.

    Exit status: 0 shown, 1 none is there, 2 usage or a definition is refused, 4 broker unreachable,
    78 the broker refuses us, or topics are missing.
    """
    from streams.domain.definition import label

    found = _those(files, bootstrap_servers, topic_prefix, config, campaign_id)
    if as_json:
        emit({"definitions": [_plain(one) for one in found]})
        return
    for one in found:
        click.echo(f"{label(one)}: {definitions.said(one)}")
        for name, value, usual in _fields(one):
            text = orjson.dumps(value).decode()
            click.echo(f"  {name} = {text}{'  (default)' if usual else ''}")


@definitions.campaign.command()
@_from
@click.option(
    "--claim",
    metavar="TIME",
    help="Of a task claimed then (RFC 3339, or 3d ago); default: as soon as it may be.",
)
def calendar(
    files: tuple[str, ...],
    campaign_id: str | None,
    bootstrap_servers: str | None,
    topic_prefix: str | None,
    config: str | None,
    as_json: bool,
    claim: str | None,
) -> None:
    """Show when a campaign opens and closes, and each day of a task's window, in its own zone.

    Days on which clocks change are marked: such a day has 23 or 25 hours and is one day. Times are
    those by which the workers judge: the fold's own functions say them.

    Exit status: 0 shown, 1 no campaign is there, 2 usage or a definition is refused, 4 broker
    unreachable, 78 the broker refuses us, or topics are missing.
    """
    claim_ms = moment("--claim", claim, int(time.time() * 1000))
    those = _those(files, bootstrap_servers, topic_prefix, config, campaign_id)
    found = [_dates(one, claim_ms) for one in definitions.campaigns_of(those)]
    if not found:
        say("leidan: no campaign is defined there")
        raise SystemExit(Exit.DIFFERENT)
    if as_json:
        emit({"campaigns": found})
        return
    for told in found:
        _print(told)


def _those(
    files: tuple[str, ...],
    bootstrap: str | None,
    prefix: str | None,
    config: str | None,
    campaign_id: str | None,
) -> list[Definition]:
    """Return the definitions meant, in sequence; raises UsageError, CampaignRefused."""
    if not files and not bootstrap:
        raise UsageError("give FILEs, --bootstrap-servers, or both")
    found = definitions.read_all(files)
    if bootstrap:
        from streams import connect
        from streams.replay.past import KafkaPast

        kafka = settings_of(config, (), bootstrap, prefix).kafka
        client = connect.security(kafka.client)
        with KafkaPast(bootstrap, kafka.topic_prefix, client, found) as past:
            found = past.definitions()
    if campaign_id is not None:
        names = {getattr(one, "campaign_id", "") for one in found} - {""}
        if campaign_id not in names:
            hint = meant(campaign_id, sorted(names))
            raise UsageError(f"--campaign {campaign_id}: is not defined there; {hint}")
        found = [one for one in found if getattr(one, "campaign_id", None) == campaign_id]
    if not found:
        say("leidan: nothing is defined there")
        raise SystemExit(Exit.DIFFERENT)
    return found


def _plain(one: Definition) -> dict[str, Any]:
    from streams.domain.definition import TYPES, label

    fields = {name: value for name, value, _ in _fields(one)}
    usual = sorted(name for name, _, usual in _fields(one) if usual)
    return {
        "definition": label(one),
        "type": TYPES[type(one)],
        "said": definitions.said(one),
        "fields": fields,
        "defaults": usual,
    }


def _fields(one: Definition) -> Iterator[tuple[str, Any, bool]]:
    """Yield (name, value, left to its default); times as text in the campaign's zone."""
    from streams.domain.campaign import Campaign
    from streams.domain.days import Calendar
    from streams.wire.campaigns import fields_of

    zone = one.calendar if isinstance(one, Campaign) else Calendar()
    for name, value, usual in fields_of(one):
        if name.endswith(("_from_ms", "_at_ms")) and value is not None:
            yield name.removesuffix("_ms"), zone.text(value), usual
        else:
            yield name, value, usual


def _dates(one: Campaign, claim_ms: int | None) -> dict[str, Any]:
    """Return when the campaign begins and ends, and a task's window for each of its variants."""
    zone = one.calendar
    opens_ms = max(one.effective_from_ms, one.opens_at_ms or 0)
    at_ms = opens_ms if claim_ms is None else claim_ms
    return {
        "campaign_id": one.campaign_id,
        "version": one.version,
        "time_zone": zone.time_zone,
        "day_starts": f"{zone.day_start_minute // 60:02}:{zone.day_start_minute % 60:02}",
        "effective_from": zone.text(one.effective_from_ms),
        "opens": zone.text(opens_ms),
        "closes": None if one.closes_at_ms is None else zone.text(one.closes_at_ms),
        "begun_at": zone.text(at_ms),
        "begins_with": "an order" if one.auto else "a claim",
        "windows": [
            {"variant": number, **_window(own, at_ms)}
            for number, own in enumerate(one.each_variant())
        ],
    }


def _window(one: Campaign, at_ms: int) -> dict[str, Any]:
    from streams.domain.days import DAY_MS, EPOCH_DAY, HOUR_MS
    from streams.domain.tasks import begin

    zone = one.calendar
    start_ms = zone.begins_ms(zone.day(at_ms)) if one.auto else at_ms
    task = begin("", one, None, at_ms, start_ms)
    days = []
    for number, day in enumerate(range(zone.day(task.start_ms), zone.day(task.end_ms - 1) + 1), 1):
        begins_ms, ends_ms = zone.begins_ms(day), zone.begins_ms(day + 1)
        days.append(
            {
                "day": number,
                "date": _date(day + EPOCH_DAY),
                "begins": zone.text(begins_ms),
                "hours": (ends_ms - begins_ms) / HOUR_MS,
                "clock_change": ends_ms - begins_ms != DAY_MS,
            }
        )
    return {
        "begins": zone.text(task.start_ms),
        "ends": zone.text(task.end_ms),
        "late_orders_count_until": zone.text(task.end_ms + one.grace_ms),
        "cancellations_act_until": zone.text(task.end_ms + one.horizon_ms),
        "days": days,
    }


def _date(ordinal: int) -> str:
    from datetime import date

    return date.fromordinal(ordinal).isoformat()


def _print(told: dict[str, Any]) -> None:
    click.echo(
        f"{told['campaign_id']} version {told['version']}: days in {told['time_zone']} begin at"
        f" {told['day_starts']}"
    )
    click.echo(f"  in force from    {told['effective_from']}")
    click.echo(f"  takes part from  {told['opens']} to {told['closes'] or 'when it is stopped'}")
    for window in told["windows"]:
        variant = f", variant {window['variant']}" if window["variant"] else ""
        click.echo(f"  begun by {told['begins_with']} at {told['begun_at']}{variant}:")
        click.echo(f"    counts from    {window['begins']} to {window['ends']}")
        click.echo(f"    late orders    to {window['late_orders_count_until']}")
        click.echo(f"    cancellations  to {window['cancellations_act_until']}")
        for line in _lines(window["days"]):
            click.echo(f"    {line}")


def _lines(days: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield a line a day; of a long window the first, the last, and those with a clock change."""
    listed = list(days)
    skipped = False
    for day in listed:
        edge = day["day"] in (1, len(listed))
        if len(listed) > MOST_DAYS and not edge and not day["clock_change"]:
            if not skipped:
                yield "..."
            skipped = True
            continue
        skipped = False
        hours = f"  {day['hours']:g} hours: clocks change" if day["clock_change"] else ""
        yield f"day {day['day']:>3}  {day['date']}  from {day['begins']}{hours}"
