"""The command line: one module per verb, and the one place where an error becomes an exit code.

Data goes to stdout, talk to stderr. A verb imports what it needs when it runs, so that `--help`
and a wrong flag are answered at once and without a broker.
"""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING, NoReturn

import click

import streams
from streams.cli import (
    asyncapi,
    backfill,
    campaign,
    campaign_published,  # noqa: F401 - another verb of campaign
    campaign_shown,  # noqa: F401 - two more verbs of campaign
    config,
    demo,
    dlq,
    doctor,
    explain,
    export,
    load,
    lottery,
    makegood,
    rights,
    simulate,
    state,
    ticks,
    topics,
    verify,
    whatif,
    worker,
)
from streams.cli.terminal import say
from streams.errors import (
    BrokerUnreachable,
    CampaignRefused,
    DeadLetterBudgetSpent,
    DiskError,
    Exit,
    Fenced,
    Refused,
    RewardsError,
)
from streams.settings import redacted

if TYPE_CHECKING:
    from collections.abc import Sequence

NEXT: dict[type[RewardsError], str] = {
    CampaignRefused: "correct the file, then: leidan campaign validate FILE",
    BrokerUnreachable: "check --bootstrap-servers and that the broker runs; one to try: make kafka",
    Refused: "restarting changes nothing; put right what is named above first",
    Fenced: "start this worker again; another one took over, or the broker was away",
    DiskError: "look at the disk, then start again; rows come back from the changelog",
    DeadLetterBudgetSpent: "leidan dlq list --by reason; mend what was deployed, then start again",
}
"""What to do next, for errors whose message does not say it already."""


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Exit status: 0 done; 1 a difference was found; 2 usage or configuration; 3 not as it should be;
4 no broker; 5 done, but some were refused again; 65 most records are dying; 70 our own error;
71 stuck; 74 disk or RocksDB; 75 fenced, or the broker was lost; 77 a lottery's secret seed;
78 refused: restarting changes nothing; 130 interrupted. A verb's own --help says which it has.""",
)
@click.version_option(
    streams.__version__,
    prog_name="leidan",
    message=f"%(prog)s %(version)s (streams from {streams.__file__})",
)
def cli() -> None:
    """Cumulative-order rewards from an order log, exactly once, on Kafka."""


for _verb in (
    demo.demo,
    worker.worker,
    simulate.simulate,
    rights.rights,
    load.load,
    ticks.ticks,
    topics.topics,
    campaign.campaign,
    lottery.lottery,
    verify.verify,
    explain.explain,
    state.state,
    whatif.whatif,
    makegood.makegood,
    backfill.backfill,
    export.export,
    dlq.dlq,
    config.config,
    doctor.doctor,
    asyncapi.asyncapi,
):
    cli.add_command(_verb)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one verb and end the process with its exit code."""
    sys.exit(run(argv))


def run(argv: Sequence[str] | None = None) -> int:
    """Run one verb; return its exit code. Nothing a user can get wrong ends in a traceback."""
    if not __debug__:
        say("leidan: python -O switches off the checks that guard money; start it without -O")
        return Exit.USAGE
    try:
        code = cli.main(args=argv, prog_name="leidan", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        say("leidan: interrupted")
        return Exit.INTERRUPTED
    except RewardsError as error:
        say(redacted(f"leidan: {error}"))
        for kind, hint in NEXT.items():
            if isinstance(error, kind):
                say(f"next: {hint}")
        return error.exit
    except Exception:  # noqa: BLE001 - not bad input but our own error: say so, with the place
        say(redacted(traceback.format_exc()))
        say("leidan: this is an error in leidan itself; please report the lines above")
        return Exit.BROKEN
    return code if isinstance(code, int) else Exit.OK
