"""A deployment with two fake upstreams of each kind: ``a-<kind>`` fails, ``b-<kind>`` goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from app.domain.models import ModelSpec
from tests.fakes.anthropic import FakeAnthropic
from tests.fakes.gemini import FakeGemini
from tests.fakes.upstream import FakeUpstream
from tests.stack import Stack

KINDS = ("openai", "anthropic", "gemini")
Fake = FakeUpstream | FakeAnthropic | FakeGemini


class Rig:
    """The stack and its upstreams, by their names."""

    metrics_port = 0

    def __init__(self, stack: Stack, fakes: dict[str, Fake]) -> None:
        self.stack = stack
        self.fakes = fakes

    def model(self, name: str, *targets: tuple[str, str], **fields: Any) -> None:
        """Configure a model with these targets, each an upstream and its name of the model."""
        given = [{"upstream": upstream, "name": upstream_name} for upstream, upstream_name in targets]
        self.stack.resources.model_admin.put(name, ModelSpec.model_validate({"targets": given, **fields}))

    def calls(self, upstream: str, model: str) -> list[Any]:
        """The calls that an upstream had under its name of a model."""
        return [call for call in self.fakes[upstream].calls if call.model == model]


def fake_of(kind: str) -> Fake:
    """A fake upstream of a kind, not started."""
    return {"openai": FakeUpstream, "anthropic": FakeAnthropic, "gemini": FakeGemini}[kind]()  # type: ignore[abstract]


@contextmanager
def rig(directory: Path, database_url: str, redis_url: str, **settings: Any) -> Iterator[Rig]:
    """A rig without processes of the service."""
    with ExitStack() as stack:
        fakes: dict[str, Fake] = {
            f"{side}-{kind}": stack.enter_context(fake_of(kind)) for side in "ab" for kind in KINDS
        }
        variables = {"UPSTREAMS": ",".join(fakes), "TITLES": "nobody", **settings}
        for name, fake in fakes.items():
            prefix = f"UPSTREAM_{name.upper().replace('-', '_')}"
            variables |= {f"{prefix}_KIND": name[2:], f"{prefix}_BASE_URL": fake.base_url, f"{prefix}_API_KEY": "key"}
        deployed = Stack(directory, database_url, redis_url, **variables)
        stack.callback(deployed.stop)
        yield Rig(deployed, fakes)
