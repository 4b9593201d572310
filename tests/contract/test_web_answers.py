"""What GET /tasks/{user_id} answers satisfies its schema, whatever the campaigns and the history.

`schemas/web/examples` are answers as they are given; `python -m tests.contract.test_web_answers`
writes them anew.
"""

# Seeded dice, repeatable by design.
# ruff: noqa: TID251, S311

from __future__ import annotations

import json
import random
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import jsonschema_rs
import pytest

from streams.domain.definition import definition_from
from streams.domain.events import ClaimRequested, Context
from streams.domain.fold import step
from streams.domain.pool_history import Unfit
from streams.domain.registry import Campaigns
from streams.domain.render import OPERATOR, USER, Asking, render
from streams.topics import schemas_dir
from tests.against_model import case_of, fold
from tests.asking import draw
from tests.builders import CLOSING, at, campaign, chances, claim, millis, order, pool
from tests.contract.test_schemas import FORMATS, objects_in
from tests.generators import FEATURES
from tests.given import given

if TYPE_CHECKING:
    from streams.domain.state import UserState

EXAMPLES = schemas_dir() / "web" / "examples"
DARK = {"features": ["dark_box"], "step_rewards": None, "entries": None, "target": {"orders": 5}}
LOTTERY = {
    "features": ["light_box", "lottery", "full_link"],
    "lottery": chances(1),
    "claim": CLOSING,
}
CASES = range(120)


@cache
def schema() -> dict[str, Any]:
    return json.loads((schemas_dir() / "web" / "tasks.v1.schema.json").read_text("utf-8"))


def validators() -> tuple[Any, Any]:
    return (
        jsonschema_rs.Draft202012Validator(schema(), validate_formats=True),
        jsonschema.Draft202012Validator(schema(), format_checker=FORMATS),
    )


def require_valid(answer: dict[str, Any]) -> None:
    said = json.loads(json.dumps(answer))
    for validator in validators():
        validator.validate(said)


def answers() -> dict[str, dict[str, Any]]:
    """The examples: name -> answer."""
    light = given(campaign(title="Three in ten days"), [claim(), order("o1"), order("o2")])
    dark = given(campaign(**DARK), [claim(), order("o1")])
    wheel = given([pool(), campaign(**LOTTERY)], [claim(), order("o1")])
    wheel.when(draw(wheel, "1", when=at(2)))

    def seen(world: Any, day: int, asking: Asking, then: int | None = None) -> dict[str, Any]:
        at_ms = None if then is None else millis(at(then, "18:00"))
        return render(world.state, world.campaigns, asking, at_ms, millis(at(day)))

    home = Asking(scene="home", entry="home", locale="zh-CN")
    return {
        "claimable": seen(given(campaign(), []), 1, home),
        "light-box-two-of-three": seen(light, 3, home),
        "light-box-as-it-was-on-day-1": seen(light, 3, home, then=1),
        "dark-box": seen(dark, 3, Asking()),
        "dark-box-for-an-operator": seen(dark, 3, Asking(role=OPERATOR)),
        "expired-within-grace": seen(light, 11, home),
        "chance-asked-for": seen(wheel, 2, home),
    }


def test_an_example_is_what_is_answered_and_satisfies_the_schema():
    told = {path.stem: json.loads(path.read_text("utf-8")) for path in EXAMPLES.glob("*.json")}
    assert told == answers()
    for answer in told.values():
        require_valid(answer)


def test_the_schema_is_one_and_closed_and_every_field_is_described():
    jsonschema.Draft202012Validator.check_schema(schema())
    for each_object in objects_in(schema()):
        assert each_object["additionalProperties"] is False
        for name, field in each_object["properties"].items():
            if "$ref" not in field:
                assert field["description"], name
            if name.endswith("_minor"):
                assert "minor units" in field["description"], name


@pytest.fixture
def everything() -> None:
    """All that a definition may say is accepted."""


def random_row(seed: int) -> tuple[Campaigns, UserState]:
    records, events = case_of(seed, frozenset(FEATURES) - {"results"})
    campaigns = Campaigns()
    for record, _ in map(definition_from, records):  # a few do not fit
        with suppress(Unfit):
            campaigns = campaigns if record is None else campaigns.with_record(record)
    return campaigns, fold(events, campaigns, {}).state


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize("seed", CASES)
def test_any_history_under_any_campaigns_is_shown_by_the_schema(seed):
    campaigns, row = random_row(seed)
    rng = random.Random(seed)
    for role in (USER, OPERATOR):
        for at_ms in (None, *(millis(at(rng.randint(-5, 90))) for _ in range(3))):
            asking = Asking(rng.choice([None, "home"]), rng.choice([None, "home", "x"]), "", role)
            require_valid(render(row, campaigns, asking, at_ms, millis(at(rng.randint(1, 40)))))


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize("seed", CASES)
def test_what_is_offered_is_what_a_claim_would_be_given(seed):
    """The codes of rendering are those of acquisition; only groups and pools say more."""
    campaigns, row = random_row(seed)
    rng = random.Random(seed)
    at_ms = millis(at(1, "08:00")) + rng.randint(1, 20 * 86_400_000)
    if row.past_ms:  # what was offered then, a claim read now is not given: it is COMPACTED
        at_ms += row.past_ms - millis(at(1))
    context = rng.choice([None, Context(("a", "b"), 2), Context((), None)])
    asking = Asking(None, "home", "", OPERATOR, context or Context())
    answer = render(row, campaigns, asking, at_ms, at_ms)
    for found in answer["candidates"]:
        codes = [clause["code"] for clause in found["trace"] if not clause["holds"]]
        codes = [code for code in codes if code not in ("LOST_GROUP", "NO_SUPPLY")]
        campaign_id = found["campaign_id"]
        in_force = campaigns.in_force(campaign_id, at_ms)
        if in_force is None or in_force.auto:
            continue
        running = any(
            task["campaign_id"] == campaign_id and task["state"] in ("active", "pending")
            for task in answer["tasks"] + answer["hidden"]
        )
        asked = ClaimRequested(
            row.user_id, at_ms, at_ms, "k-new", campaign_id, "home", "", context or Context()
        )
        _, outputs, _ = step(row, asked, campaigns)
        mine = [o.body for o in outputs if o.body.get("claim_id") == "k-new"]
        said = [body["code"] for body in mine]
        expected = [*codes[:1]]
        if running and not (codes and codes[0].startswith("CAMPAIGN_")):
            expected = ["ALREADY_ACTIVE"]
        assert said == expected, (campaign_id, found)


if __name__ == "__main__":
    for name, answer in answers().items():
        Path(EXAMPLES / f"{name}.json").write_text(
            json.dumps(answer, indent=2, ensure_ascii=False) + "\n", "utf-8"
        )
