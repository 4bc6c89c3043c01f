"""The messages of a prompt: the history of a conversation, with what is sent of its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from app.config import WorkerSettings
from app.domain.accepts import UNKNOWN_KIND, Accepts, accepts_of
from app.domain.models import BUILT_IN_PROVIDERS
from app.services.history import History
from app.store.model_configs import Model
from app.wiring import Resources
from worker.blocking import Blocking
from worker.byte_room import ByteRoom
from worker.continued import EarlierText
from worker.file_texts.reader import FileTexts
from worker.prompt import chat_messages
from worker.prompt_files import FileLimits, PromptFiles
from worker.providers.base import ChatMessage
from worker.run_state import RunState

# Files that a worker reads at the same time; the text of one takes seconds.
FILE_THREADS = 4


class PromptMessages:
    """Reads the messages of prompts. ``kinds`` are the kinds of the upstreams, by name."""

    def __init__(self, history: History, blocking: Blocking, files: PromptFiles, kinds: Mapping[str, str]) -> None:
        self._history = history
        self._blocking = blocking
        self._files = files
        self.earlier = EarlierText(history, blocking)
        self._kinds = {**kinds, **dict.fromkeys(BUILT_IN_PROVIDERS, "offline")}

    async def read(self, run: RunState, model: Model, system: Sequence[str | None]) -> tuple[ChatMessage, ...]:
        """The messages up to the answer, behind the texts of ``system``.

        The memory of their files is the run's until ``release``. Raises ProviderError while the storage of files is
        away, and the reason of an interruption.
        """
        claimed = run.claimed

        def read() -> tuple[ChatMessage, ...]:
            turns = self._history.context(claimed.conversation_id, claimed.user_message_id)
            return chat_messages(turns, system)

        messages = await self._blocking.retry_while_db_down(run, read, may_wait_for_redis=True)
        return await self._files.read(run, messages, self._accepts(model))

    def release(self, run: RunState) -> None:
        """Give the memory of the files of a run back."""
        self._files.release(run)

    def close(self) -> None:
        """End the programs that read texts of files."""
        self._files.close()

    def _accepts(self, model: Model) -> Accepts:
        kinds = (self._kinds.get(target.upstream, UNKNOWN_KIND) for target in model.all_targets)
        return accepts_of(model.accepts, kinds)


def prompt_messages_of(settings: WorkerSettings, resources: Resources, blocking: Blocking) -> PromptMessages:
    """The messages of prompts of one process."""
    files = PromptFiles(
        resources.files,
        FileTexts(settings.max_file_text_chars, settings.max_file_text_pages, settings.file_text_seconds),
        ThreadPoolExecutor(FILE_THREADS, thread_name_prefix="files"),
        blocking,
        ByteRoom(settings.worker_file_bytes),
        FileLimits(
            settings.max_file_bytes,
            settings.max_prompt_file_bytes,
            settings.max_prompt_chars,
            settings.prompt_text_seconds,
            settings.worker_file_wait_seconds,
        ),
    )
    kinds = {upstream.name: upstream.kind for upstream in settings.configured_upstreams}
    return PromptMessages(resources.history, blocking, files, kinds)
