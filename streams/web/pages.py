"""What is served where: /metrics, /livez, /readyz, /tasks/{user_id}; anything else is 404."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.exposition import choose_encoder

from streams import metrics
from streams.web.server import LIVE, READY, Answer, refusal
from streams.web.tasks import TASKS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from streams.web.server import Question


def pages(
    live: Callable[[], Answer],
    ready: Callable[[], Answer],
    tasks: Callable[[Question], Awaitable[Answer]],
) -> Callable[[Question], Awaitable[Answer]]:
    """Return what answers every question."""

    async def answer(question: Question) -> Answer:
        if question.path.startswith(TASKS):
            return await tasks(question)
        if question.path == LIVE:
            return live()
        if question.path == READY:
            return ready()
        if question.path == "/metrics":
            encoder, content_type = choose_encoder(question.accept)
            return Answer(200, encoder(metrics.REGISTRY), content_type)
        return refusal(404, "no_such_page", "nothing is here", "GET /tasks/{user_id}")

    return answer
