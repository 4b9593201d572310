"""What this version does not do yet: refused by name, so that nothing is silently ignored.

Whoever builds a part removes its lines. The check comes after the parsing, so that the parser and
the rules can be tested before the engine is ready for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams.domain.campaign import Campaign
from streams.domain.definition.rights import with_fallbacks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.domain.campaign import Right

# By path in the definition: what is accepted, its default. `right.` is any right of the campaign.
NOT_BUILT: dict[str, Any] = {
    "release": None,
    "collect": "auto",
}
SAID = "not built in this version"


def not_built(record: object) -> list[str]:
    """Return a problem for each part of a clear definition that this version does not do yet."""
    if not isinstance(record, Campaign):
        return []
    found = []
    for path, accepted in NOT_BUILT.items():
        of, _, name = path.rpartition(".")
        held = _rights(record) if of == "right" else [record]
        field = name if of == "right" else path.replace(".", "_")
        if any(getattr(one, field) != accepted for one in held):
            found.append(f"{path}: {SAID}")
    return found


def _rights(campaign: Campaign) -> Iterator[Right]:
    for number in range(len(campaign.variants) + 1):
        own = campaign.with_variant(number)
        yield from with_fallbacks(own.final_rewards)
        for rights in own.step_rewards.values():
            yield from with_fallbacks(rights)
