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


@click.group()
def campaign() -> None:
    """Campaign definitions.

    Exit status: 0 all are clear, 2 a file cannot be read or a definition is refused.
    """


@campaign.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--json", "as_json", is_flag=True, help="One object on stdout.")
def validate(files: tuple[str, ...], as_json: bool) -> None:
    """Check campaign definitions; every problem of every FILE is named at once, with its line.

    Exit status: 0 all are clear, 2 a file cannot be read or a definition is refused.
    """
    good: list[Campaign] = []
    problems: list[str] = []
    for name in files:
        try:
            good += read(Path(name))
        except RewardsError as error:
            problems += str(error).splitlines()
    problems += _out_of_sequence(good)
    if as_json:
        emit({"campaigns": [_named(c) for c in good], "problems": problems})
    else:
        for one in good:
            click.echo(f"{_named(one)}: {_said(one)}")
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


def read(path: Path) -> list[Campaign]:
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


def _out_of_sequence(found: list[Campaign]) -> list[str]:
    """Return what the versions of one campaign say against each other, in the order given."""
    from streams.domain.campaign import Campaigns

    registry, problems = Campaigns(), []
    for one in found:
        try:
            registry = registry.with_version(one)
        except ValueError as error:
            problems.append(f"{_named(one)}: {error}")
    return problems


def _named(one: Campaign) -> str:
    return f"{one.campaign_id} version {one.version}"


def _said(one: Campaign) -> str:
    """Return the definition in a sentence, so that a slip of the pen is seen."""
    window = {
        "from_claim": f"{one.days} days from the claim",
        "fixed": f"{one.days} fixed days",
        "every_n": f"{one.days} days, again and again up to {one.max_cycles} times",
    }[one.mode]
    each = f"at least {one.min_amount_minor} {one.currency} minor units each"
    cap = f"at most {one.daily_cap} a day" if one.daily_cap else "any number a day"
    rights = ", ".join(f"{r.type} {r.value_minor}" for r in one.final_rewards) or "none"
    steps = f", {len(one.step_rewards)} step rewards" if one.step_rewards else ""
    start = "begins by itself" if one.auto else "begins with a claim"
    return (
        f"{one.target_orders} orders ({each}, {cap}) in {window}; {start};"
        f" final reward: {rights}{steps}; days in {one.calendar.time_zone}"
    )


def read_all(files: tuple[str, ...]) -> list[Campaign]:
    """Return every definition of the files, versions in sequence.

    Raises UsageError, CampaignRefused at the first file that is refused.
    """
    found = [one for name in files for one in read(Path(name))]
    if problems := _out_of_sequence(found):
        raise CampaignRefused(", ".join(files), problems)
    return found
