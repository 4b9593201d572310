"""`leidan campaign`: look at definitions before a topic or a worker sees them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from streams.cli.json_lines import line_of, lines_by_path
from streams.cli.terminal import emit, say
from streams.errors import CampaignRefused, Exit, RewardsError

if TYPE_CHECKING:
    from streams.domain.campaign import Campaign
    from streams.domain.definition import Definition
    from streams.domain.pool import Pool


@click.group()
def campaign() -> None:
    """Campaign definitions: whether they are clear, what they say, and when.

    Exit status: 0 all are clear, or shown; 1 there is none to show; 2 a file cannot be read or a
    definition is refused; 4 broker unreachable; 78 the broker refuses us, or topics are missing.
    """


@campaign.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--json", "as_json", is_flag=True, help="One object on stdout.")
def validate(files: tuple[str, ...], as_json: bool) -> None:
    """Check definitions; every problem of every FILE is named at once, with its line.

    A FILE holds campaigns, pools, and what changes or ends them; a pool before what names it.

    Exit status: 0 all are clear, 2 a file cannot be read or a definition is refused.
    """
    from streams.domain.definition import label

    good: list[Definition] = []
    problems: list[str] = []
    for name in files:
        try:
            good += read(Path(name))
        except RewardsError as error:
            problems += str(error).splitlines()
    problems += _out_of_sequence(good)
    if as_json:
        emit({"definitions": [label(one) for one in good], "problems": problems})
    else:
        for one in good:
            click.echo(f"{label(one)}: {said(one)}")
    for problem in problems:
        say(problem)
    if problems:
        say(f"{len(problems)} problems; correct them and run this again")
        raise SystemExit(Exit.USAGE)
    say(f"{len(good)} clear")


class CampaignFileRefused(CampaignRefused):
    """As CampaignRefused, each problem with the line it stands on."""

    def __init__(self, path: Path, problems: list[str], lines: dict[str, int]) -> None:
        super().__init__(str(path), problems)
        self.args = ("\n".join(self._placed(problem, lines) for problem in problems),)

    def _placed(self, problem: str, lines: dict[str, int]) -> str:
        line = line_of(problem, lines)
        return f"{self.source}:{line}: {problem}" if line else f"{self.source}: {problem}"


def read(path: Path) -> list[Definition]:
    """Return the definitions of one file.

    Raises UsageError when it cannot be read, CampaignRefused when it is unclear, each problem as
    `<file>:<line>: <path>: <problem>` where the line can be told.
    """
    from streams.wire.campaigns import read_file

    try:
        return read_file(path)
    except CampaignRefused as refused:
        if refused.source != str(path):  # one a line: the source names the line already
            raise
        lines = lines_by_path(path.read_text(encoding="utf-8", errors="replace"))
        raise CampaignFileRefused(path, refused.problems, lines) from None


def _out_of_sequence(found: list[Definition]) -> list[str]:
    """Return what the definitions say against each other, in the order given."""
    from streams.domain.definition import label
    from streams.domain.pool_history import Unfit
    from streams.domain.registry import Campaigns

    registry, problems = Campaigns(), []
    for one in found:
        try:
            registry = registry.with_record(one)
        except Unfit as unfit:
            problems += [f"{label(one)}: {problem}" for problem in unfit.problems]
    return problems


def said(one: Definition) -> str:
    """Return the definition in a sentence, so that a slip of the pen is seen."""
    from streams.domain.campaign import Campaign
    from streams.domain.days import Calendar
    from streams.domain.pool import Pool

    if isinstance(one, Campaign):
        return _campaign_said(one)
    if isinstance(one, Pool):
        return _pool_said(one)
    return f"from {Calendar().text(one.effective_from_ms)} on"


def _pool_said(one: Pool) -> str:
    from fractions import Fraction

    from streams.domain.days import Calendar

    if one.kind == "rights":
        return ", ".join(f"{units} x {right_id}" for right_id, units in one.stock.items())
    table = one.odds[-1]
    worth = {prize.prize_id: prize.right.value_minor for prize in one.prizes}
    weighed = sum(weight.weight * worth[weight.prize_id] for weight in table.weights)
    cost = Fraction(weighed, table.denominator)
    prizes = ", ".join(f"{p.stock} x {p.prize_id} ({p.right.value_minor})" for p in one.prizes)
    closes = Calendar().text(one.closes_at_ms or 0)
    return (
        f"{prizes}; a draw costs {cost} {one.currency} minor units on average"
        f" (odds version {table.odds_version}); closes at {closes}"
    )


def _campaign_said(one: Campaign) -> str:
    window = {
        "from_claim": f"{one.days} days from the claim",
        "fixed": f"{one.days} fixed days",
        "every_n": f"{one.days} days, again and again up to {one.max_cycles} times",
    }[one.mode]
    each = f"at least {one.min_amount_minor} {one.currency} minor units each"
    cap = f"at most {one.daily_cap} a day" if one.daily_cap else "any number a day"
    whole = f" {_both(one)} {one.target_amount_minor} in all" if one.target_amount_minor else ""
    rights = ", ".join(f"{r.type} {r.value or r.value_minor}" for r in one.final_rewards) or "none"
    steps = f", {len(one.step_rewards)} step rewards" if one.step_rewards else ""
    start = "begins by itself" if one.auto else "begins with a claim"
    return (
        f"{one.target_orders} orders ({each}, {cap}){whole} in {window}; {start};"
        f" final reward: {rights}{steps}{_chances_said(one)}; {_cost_said(one)};"
        f" days in {one.calendar.time_zone}"
    )


def _both(one: Campaign) -> str:
    return "and" if one.match == "all" else "or"


def _chances_said(one: Campaign) -> str:
    if one.lottery is None:
        return ""
    count = sum(chances.count for chances in one.lottery.chances)
    return f", {count} chances to draw from {one.lottery.pool_id}"


def _cost_said(one: Campaign) -> str:
    from streams.domain.worst_case import worst_case

    owns = list(one.each_variant())
    most = f"a task costs at most {max(worst_case(own).amount_minor for own in owns)}"
    if one.budget is None:
        return most
    amount = f" of {one.budget.amount_minor}" if one.budget.amount_minor else ""
    tasks = f", {one.budget.max_tasks} tasks in all" if one.budget.max_tasks else ""
    return f"{most}{amount}{tasks}"


def read_all(files: tuple[str, ...]) -> list[Definition]:
    """Return every definition of the files, in sequence.

    Raises UsageError, CampaignRefused at the first file that is refused.
    """
    found = [one for name in files for one in read(Path(name))]
    if problems := _out_of_sequence(found):
        raise CampaignRefused(", ".join(files), problems)
    return found


def campaigns_of(found: list[Definition]) -> list[Campaign]:
    """Return the campaigns alone, whose users traffic is made for."""
    from streams.domain.campaign import Campaign

    return [one for one in found if isinstance(one, Campaign)]
