"""What is served where: /metrics, /healthz, /tasks/{user_id}; anything else is 404."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from prometheus_client.exposition import choose_encoder

from streams import metrics
from streams.web.server import Answer, refusal
from streams.web.tasks import TASKS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from streams.web.server import Question


def pages(
    health: Callable[[], dict[str, Any]],
    tasks: Callable[[Question], Awaitable[Answer]] | None = None,
) -> Callable[[Question], Awaitable[Answer]]:
    """Return what answers every question.

    ``health()`` returns at least ``{"ok": bool}``; /healthz answers 200 or 503 with it as JSON.
    """

    async def answer(question: Question) -> Answer:
        if question.path.startswith(TASKS) and tasks is not None:
            return await tasks(question)
        if question.path == "/metrics":
            encoder, content_type = choose_encoder(question.accept)
            return Answer(200, encoder(metrics.REGISTRY), content_type)
        if question.path == "/healthz":
            found = health()
            return Answer(200 if found["ok"] else 503, orjson.dumps(found))
        return refusal(404, "no_such_page", "nothing is here", "GET /tasks/{user_id}")

    return answer
