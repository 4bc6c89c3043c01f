"""The models that answers can be made with: the configured ones, and those that upstreams list."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from app.domain.accepts import UNKNOWN_KIND, Accepts, accepts_of
from app.domain.commands import User
from app.domain.errors import InvalidInput, UnbrokenError
from app.domain.models import BUILT_IN_PROVIDERS
from app.services.upstream_models import UpstreamLists
from app.store import model_configs
from app.store.database import Database, Tx
from app.store.model_configs import Model
from app.store.upstream_models import UpstreamModels

OFFLINE = "offline"
# Versions of configurations that a worker caches; a version never changes.
MOST_VERSIONS = 200
# Models that upstreams list beside those for chats.
_NO_CHATS = re.compile(
    r"embed|rerank|whisper|tts|transcri|moderation|dall-e|(?<![a-z])image|imagen|stable-diffusion|sdxl|(?<![a-z])flux"
    r"|(?<![a-z])(?:bge|gte|e5|minilm|sora|veo|clip|siglip|colbert|kokoro|aqa|reranker|realtime|speech)(?![a-z])|all-mini"
    r"|diffusion|similarity|(?:davinci|babbage)-00|turbo-instruct|(?<![a-z])guard(?![a-z])|text-to-|musicgen",
    re.IGNORECASE,
)


class UpstreamSilent(UnbrokenError):
    """No list of an upstream's models has been stored, and no DEFAULT_MODEL is set."""

    retry_after = 10

    def __init__(self, lists: Mapping[str, UpstreamModels]) -> None:
        why = "; ".join(
            (f"{upstream}: " if len(lists) > 1 else "") + (listed.trouble or "no worker has read it yet")
            for upstream, listed in lists.items()
        )
        super().__init__(f"There is no list of the upstream's models ({why}), and no DEFAULT_MODEL is set.")


class UnknownModel(InvalidInput):
    """There is no model of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no model named {name[:80]!r}.", "model")


class DisabledModel(InvalidInput):
    """The model of this name is switched off."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The model {name[:80]!r} is switched off; choose another one.", "model")


@dataclass(frozen=True, slots=True)
class Offer:
    """A model as a client sees it."""

    model: Model
    default: bool
    accepts: Accepts

    @property
    def name(self) -> str:
        """The name of the model."""
        return self.model.name

    @property
    def provider(self) -> str:
        """The provider that answers."""
        return self.model.provider


class ModelCatalog:
    """Finds models by name. Without upstreams only configured models exist.

    A name without a configuration goes to the first upstream that lists it, or else to the first of all.
    ``name@upstream`` goes to this upstream.
    """

    def __init__(self, database: Database, lists: UpstreamLists, default: str | None) -> None:
        self._database = database
        self._lists = lists
        self._default = default
        self._accepted: dict[int, Model] = {}

    def prepare(self) -> None:
        """Read the upstreams' lists where a name or the default depends on them. May open a transaction.

        Raises DatabaseDown.
        """
        if len(self._lists.upstreams) > 1 or (self._lists.upstreams and not self._default):
            self._lists.read()

    def prepare_inputs(self) -> None:
        """Read the kinds of the upstreams, on which the inputs of a model depend. May open a transaction.

        Raises DatabaseDown.
        """
        if self._lists.upstreams:
            self._lists.read()

    def default(self) -> str:
        """The model of general chats; ``prepare`` has been called. Raises UpstreamSilent."""
        if self._default:
            return self._default
        if not self._lists.upstreams:
            return OFFLINE
        first = _first_chat_model(self._lists.copy)
        if first is None:
            raise UpstreamSilent(self._lists.copy)
        return first

    def default_for(self, tx: Tx, user: User, preferred: str | None) -> str:
        """The model of a request that names none: the one that its user prefers, while it can be used, or the default.

        ``prepare`` has been called. Raises UpstreamSilent.
        """
        if preferred is not None and user.credential.may_use(preferred):
            with suppress(UnknownModel, DisabledModel):
                return self.find(tx, preferred).name
        return self.default()

    def find(self, tx: Tx, name: str) -> Model:
        """The model of this name as it is configured now.

        Raises UnknownModel when there is none, DisabledModel when it is switched off.
        """
        configured = model_configs.get(tx, name)
        if configured is None:
            return self._passed_on(name)
        if not configured.enabled:
            raise DisabledModel(name)
        return configured

    def look_up(self, name: str) -> Model:
        """The model that answers a request with this name now. Opens a transaction. Raises as ``find``."""
        self.prepare()
        with self._database.without_user() as tx:
            return self.find(tx, name)

    def accepted(self, name: str, version: int | None) -> Model:
        """The model as it was configured when an answer was accepted: ``version`` is in the generation's row.

        An answer that an earlier release accepted has none and is made with what is configured now. Raises as ``find``.
        """
        if version == model_configs.UNCONFIGURED:
            self.prepare()
            return self._passed_on(name)
        if version in self._accepted:
            return self._accepted[version]
        with self._database.without_user() as tx:
            found = None if version is None else model_configs.accepted(tx, version)
            if found is None:
                return self.find(tx, name)
        if len(self._accepted) >= MOST_VERSIONS:
            self._accepted.clear()
        self._accepted[found.version] = found
        return found

    def offers(self) -> list[Offer]:
        """Every model by name, configured ones first."""
        lists = self._lists.read() if self._lists.upstreams else {}
        with self._database.without_user() as tx:
            known = {model.name: model for model in model_configs.every(tx)}
        default = self._default or _first_chat_model(lists) or OFFLINE
        offered = {model.name: model for model in known.values() if model.enabled}
        for upstream, listed in lists.items():
            for name in listed.names:
                # A name that an earlier upstream lists too is offered with the name of its upstream.
                own = f"{name}@{upstream}" if name in offered and name not in known else name
                if own not in known:
                    offered.setdefault(own, Model(own, upstream, name))
        return [Offer(model, model.name == default, self.accepts(model)) for model in offered.values()]

    def accepts(self, model: Model) -> Accepts:
        """The inputs that a model takes. ``prepare_inputs`` has been called."""
        kinds = {**self._lists.kinds, **dict.fromkeys(BUILT_IN_PROVIDERS, "offline")}
        return accepts_of(model.accepts, [kinds.get(target.upstream, UNKNOWN_KIND) for target in model.all_targets])

    def _passed_on(self, name: str) -> Model:
        """A model that is not configured, known to an upstream by name. Raises UnknownModel without an upstream."""
        upstreams = self._lists.upstreams
        if not upstreams:
            raise UnknownModel(name)
        listing = next((upstream for upstream, listed in self._lists.copy.items() if name in listed.names), None)
        if listing is not None:
            return Model(name, listing, name)
        plain, _, upstream = name.rpartition("@")
        return Model(name, upstream, plain) if plain and upstream in upstreams else Model(name, upstreams[0], name)


def _first_chat_model(lists: Mapping[str, UpstreamModels]) -> str | None:
    """The first name of a model for chats; without one, the first name of all."""
    names = [name for listed in lists.values() for name in listed.names]
    return next((name for name in names if not _NO_CHATS.search(name)), next(iter(names), None))
