"""The work that a worker's sweeper does beside sweeping: minutes are counted, old rows are removed."""

from __future__ import annotations

from functools import partial

from app.services import model_versions, restores, revocations
from app.services.leftovers import KeptDays, Leftovers
from app.services.minutes import RUN_SECONDS
from app.services.own_data.retention import TEMPORARY_SECONDS
from app.services.passes import Pass
from app.services.sweeper import TIDY_SECONDS, Chore
from app.wiring import Resources


def chores(resources: Resources) -> tuple[Chore, ...]:
    """The chores of a process."""
    return (
        Chore("notice restore", partial(restores.notice, resources.database), 0.0),
        Chore("erase", resources.eraser.sweep, 0.0),
        Chore("end expired keys", resources.api_keys.end_expired, 0.0),
        Chore("erase users", resources.own_data.erasures.sweep, 0.0),
        Chore("sweep files", resources.file_sweep.sweep, 0.0),
        Chore("retention", resources.own_data.retention.sweep, 0.0),
        Chore("remove temporary chats", resources.own_data.retention.sweep_temporary, TEMPORARY_SECONDS),
        Chore("count minutes", resources.for_operators.minutes.record, RUN_SECONDS),
        Chore("prune feeds", Pass(resources.feeds.prune).resume, TIDY_SECONDS),
        Chore("prune audit", resources.audit.prune, TIDY_SECONDS),
        Chore("prune revocations", Pass(partial(revocations.prune, resources.database)).resume, TIDY_SECONDS),
        Chore("prune sessions", Pass(resources.sessions.prune).resume, TIDY_SECONDS),
        Chore("prune sign-in codes", resources.sign_in_links.prune, TIDY_SECONDS),
        Chore("prune sign-ins", resources.identities.prune, TIDY_SECONDS),
        Chore("prune webhooks", resources.webhook_deliveries.prune, TIDY_SECONDS),
        Chore("prune leftovers", Pass(_leftovers(resources).prune).resume, TIDY_SECONDS),
        Chore("prune models", partial(model_versions.prune, resources.database), TIDY_SECONDS),
    )


def _leftovers(resources: Resources) -> Leftovers:
    return Leftovers(resources.database, KeptDays(*resources.settings.kept_days))
