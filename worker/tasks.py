"""The tasks of Celery: each passes an id to the runner. PostgreSQL decides whether the generation may begin.

The result of a task is the status of its generation, so that Flower shows it. An answer that failed is a failure there.
A task may run another generation than the one it was sent for: the event of its beginning names the one that runs.
"""

from __future__ import annotations

from queue import SimpleQueue
from typing import Any

from celery import Celery
from celery.worker import request, state

from app.broker.application import RUN_EMBEDDINGS, RUN_GENERATION
from app.domain.lease import Claimed
from worker.intake import id_in
from worker.outcome import Outcome
from worker.process import WorkerProcess
from worker.transport import drop

STARTED = "task-started"
ENDS = ("task-succeeded", "task-failed")


class GenerationFailed(Exception):
    """The answer ended as an error; the message is the error's code."""


class Request(request.Request):  # type: ignore[misc]  # Celery has no types
    """A task whose beginning is published with its claim, or with its end when it claims nothing."""

    has_begun = False

    def send_event(self, type: str, **fields: Any) -> None:
        """Publish an event of this task, except the beginning that Celery sees: a thread was free."""
        if type == STARTED:
            return
        if type in ENDS:
            self.begin()
        if str(fields.get("exception", "")).startswith(GenerationFailed.__name__):
            fields["traceback"] = None  # of the task, which has done what it is for
        super().send_event(type, **fields)

    def begin(self, **fields: Any) -> None:
        """Publish the beginning once."""
        if not self.has_begun:
            self.has_begun = True
            super().send_event(STARTED, **fields)


def register(celery: Celery, process: WorkerProcess) -> None:
    """Give the application its tasks, and the intake that its consumer follows."""
    celery.intake = process.intake

    # An error in ``throws`` is a failure without a traceback: it is the provider's, and the runner has logged it.
    @celery.task(bind=True, name=RUN_GENERATION, throws=(GenerationFailed,), typing=False, Request=Request)
    def run_generation(task: Any, *arguments: object, **more: object) -> str:
        generation_id = id_in(arguments) if not more else None
        if generation_id is None:
            drop("malformed", arguments)
            return "dropped"
        outcome = _run(process, generation_id, state.requests.get(task.request.id))
        if outcome.error_code is not None:
            raise GenerationFailed(outcome.error_code)
        return outcome.status

    @celery.task(name=RUN_EMBEDDINGS, typing=False)
    def run_embeddings(*arguments: object, **more: object) -> str:
        request_id = id_in(arguments) if not more else None
        if request_id is None:
            drop("malformed", arguments)
            return "dropped"
        return process.embed(request_id)


def _run(process: WorkerProcess, generation_id: str, begun: Request | None) -> Outcome:
    """Run a generation to its end, in a thread of Celery that has nothing else to do.

    The claim is published by this thread: the broker may be slow, and the loop of the process must not wait for it.
    """
    claims: SimpleQueue[Claimed | None] = SimpleQueue()
    running = process.submit(generation_id, claims.put)
    running.add_done_callback(lambda _: claims.put(None))
    claimed = claims.get()
    if claimed is not None and begun is not None:
        ids = {"user": claimed.user_id, "conversation": claimed.conversation_id}
        begun.begin(kwargs=repr({**ids, "generation": claimed.lease.generation_id}))
    return running.result()
