"""Each alert fires when its metric says so, after its time and not before, and none fires over a healthy service.

promtool evaluates the file itself over made series. ``make alerts`` makes the faults in a real deployment.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from tests.alerts.rules import PAGE, RULES, Rule, missing_programs, rules

needs_promtool = pytest.mark.skipif(
    bool(missing_programs()), reason=f"not installed: {', '.join(missing_programs())} (Debian's package prometheus)"
)
STEP = 15
# Samples before the fault and after it: 10 minutes, and 40.
BEFORE, AFTER = 40, 160
FAULT = BEFORE * STEP
BY_NAME = {rule.name: rule for rule in rules()}

_CONNECTS = 'unbroken_stream_connects_total{{position="cursor",outcome="{}"}}'
_FINISHED = 'unbroken_generations_finished_total{{status="{}"}}'
_REQUESTS = 'unbroken_http_requests_total{{method="GET",route="/x",status="{}"}}'


def bucket(metric: str, le: str) -> str:
    return f'unbroken_{metric}_seconds_bucket{{le="{le}"}}'


def level(value: float) -> str:
    """A gauge that stays."""
    return f"{value}x{BEFORE + AFTER}"


def jump(before: float, after: float) -> str:
    """A gauge that changes with the fault."""
    return f"{before}x{BEFORE - 1} {after}x{AFTER}"


def rate(step: float) -> str:
    """A counter that grows by ``step`` a sample."""
    return f"0+{step}x{BEFORE + AFTER}"


def turn(before: float, after: float) -> str:
    """A counter that grows by ``before`` a sample, and by ``after`` from the fault on."""
    return f"0+{before}x{BEFORE - 1} {before * BEFORE}+{after}x{AFTER}"


HEALTHY = {
    'up{job="unbroken-web",instance="web:8000"}': level(1),
    'up{job="unbroken-worker",instance="worker:9100"}': level(1),
    "unbroken_ready": level(1),
    "unbroken_database_up": level(1),
    "unbroken_redis_up": level(1),
    "unbroken_redis_writable": level(1),
    "unbroken_redis_memory_bytes": level(100),
    "unbroken_redis_memory_limit_bytes": level(512),
    "unbroken_workers_alive": level(2),
    "unbroken_workers_leaving": level(0),
    "unbroken_workers_lost": level(0),
    "unbroken_slots": level(400),
    "unbroken_generations_running": level(50),
    "unbroken_generations_queued": level(1),
    "unbroken_generations_oldest_queued_seconds": level(0.2),
    "unbroken_generations_abandoned_seconds": level(0),
    "unbroken_claims_total": rate(10),
    "unbroken_conversations_empty": level(0),
    "unbroken_lease_renewals_late_total": level(0),
    "unbroken_checkpoint_lag_seconds": level(0.4),
    "unbroken_doorbells_lost_total": level(0),
    _FINISHED.format("completed"): rate(10),
    _FINISHED.format("error"): rate(0.1),
    'unbroken_generation_errors_total{code="attempts_exhausted"}': level(0),
    bucket("first_token", "0.5"): rate(9),
    bucket("first_token", "20"): rate(10),
    bucket("first_token", "40"): rate(10),
    bucket("first_token", "+Inf"): rate(10),
    'unbroken_breaker_state{target="a/m"}': level(0),
    _CONNECTS.format("opened"): rate(20),
    _CONNECTS.format("failed"): rate(0.05),
    bucket("relay_delivery", "0.005"): rate(15),
    bucket("relay_delivery", "1"): rate(15),
    bucket("relay_delivery", "2.5"): rate(15),
    bucket("relay_delivery", "+Inf"): rate(15),
    "unbroken_relay_silent_seconds": level(0.9),
    "unbroken_relay_failures_total": level(0),
    "unbroken_revocations_age_seconds": level(0.2),
    "unbroken_webhooks_oldest_seconds": level(0.4),
    "unbroken_webhooks_dead": level(3),
    _REQUESTS.format("200"): rate(100),
    _REQUESTS.format("503"): rate(0.1),
}


@dataclass(frozen=True)
class Fault:
    """The series that differ from a healthy service. ``within``: seconds until the expression of the alert is true."""

    series: dict[str, str] = field(default_factory=dict)
    within: int = STEP


FAULTS = {
    "UnbrokenNotReady": Fault({"unbroken_ready": jump(1, 0)}),
    "UnbrokenNoWebProcess": Fault({'up{job="unbroken-web",instance="web:8000"}': jump(1, 0)}),
    "UnbrokenProcessDown": Fault({'up{job="unbroken-worker",instance="worker:9100"}': jump(1, 0)}),
    "UnbrokenRequestsFail": Fault({_REQUESTS.format("503"): turn(0.1, 20)}, 135),
    "UnbrokenNoWorker": Fault({"unbroken_workers_alive": jump(2, 0)}),
    "UnbrokenWorkerLost": Fault({"unbroken_workers_lost": jump(0, 1)}),
    "UnbrokenQueueGrowing": Fault(
        {
            "unbroken_generations_oldest_queued_seconds": f"0.2x{BEFORE - 1} 0+15x{AFTER}",
            "unbroken_generations_running": jump(50, 400),
        },
        60,
    ),
    "UnbrokenNothingClaimed": Fault(
        {
            "unbroken_generations_oldest_queued_seconds": f"0.2x{BEFORE - 1} 0+15x{AFTER}",
            "unbroken_claims_total": turn(10, 0),
        },
        315,
    ),
    "UnbrokenAnswerAbandoned": Fault(
        {"unbroken_generations_abandoned_seconds": f"0x{BEFORE - 1} 0+15x{AFTER}"},
        45,
    ),
    "UnbrokenRenewalsLate": Fault({"unbroken_lease_renewals_late_total": turn(0, 1)}, 30),
    "UnbrokenCheckpointsLag": Fault({"unbroken_checkpoint_lag_seconds": jump(0.4, 30)}),
    "UnbrokenDoorbellsLost": Fault({"unbroken_doorbells_lost_total": turn(0, 3)}, 60),
    "UnbrokenAnswersFail": Fault({_FINISHED.format("error"): turn(0.1, 10)}, 150),
    "UnbrokenAnswersGivenUp": Fault(
        {'unbroken_generation_errors_total{code="attempts_exhausted"}': f"0x{BEFORE} 1x{AFTER}"}, 45
    ),
    "UnbrokenEmptyConversations": Fault({"unbroken_conversations_empty": jump(0, 1)}),
    "UnbrokenFirstTokenSlow": Fault(
        {bucket("first_token", "0.5"): turn(9, 0), bucket("first_token", "20"): turn(10, 1)}, 180
    ),
    "UnbrokenBreakerOpen": Fault({'unbroken_breaker_state{target="a/m"}': jump(0, 2)}),
    "UnbrokenReconnectionsFail": Fault({_CONNECTS.format("failed"): turn(0.05, 10)}, 105),
    "UnbrokenDeliverySlow": Fault(
        {bucket("relay_delivery", "0.005"): turn(15, 0), bucket("relay_delivery", "1"): turn(15, 5)}, 60
    ),
    "UnbrokenRelaySilent": Fault({"unbroken_relay_silent_seconds": f"0.9x{BEFORE - 1} 0+15x{AFTER}"}, 30),
    "UnbrokenRelayFailures": Fault({"unbroken_relay_failures_total": f"0x{BEFORE} 1x{AFTER}"}, 45),
    "UnbrokenAccessEndsLate": Fault({"unbroken_revocations_age_seconds": f"0.2x{BEFORE - 1} 0+15x{AFTER}"}, 30),
    "UnbrokenPostgresqlDown": Fault({"unbroken_database_up": jump(1, 0)}),
    "UnbrokenRedisDown": Fault({"unbroken_redis_up": jump(1, 0)}),
    "UnbrokenRedisFull": Fault({"unbroken_redis_writable": jump(1, 0)}),
    "UnbrokenWebhooksOverdue": Fault({"unbroken_webhooks_oldest_seconds": f"0.4x{BEFORE - 1} 0+15x{AFTER}"}, 75),
    "UnbrokenWebhooksDead": Fault({"unbroken_webhooks_dead": jump(3, 5)}, 30),
    "UnbrokenRedisNearlyFull": Fault({"unbroken_redis_memory_bytes": jump(100, 480)}),
}


def evaluate(directory: Path, series: dict[str, str], checks: dict[str, int | None]) -> str:
    """The complaint of promtool about ``checks``, counts by ``query @ seconds``; empty when all of them hold."""
    expected = [
        {
            "expr": query,
            "eval_time": f"{at}s",
            "exp_samples": [] if count is None else [{"labels": "{}", "value": count}],
        }
        for (query, at), count in ((_split(text), count) for text, count in checks.items())
    ]
    given = [{"series": name, "values": values} for name, values in series.items()]
    test = {"interval": f"{STEP}s", "input_series": given, "promql_expr_test": expected}
    file = directory / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "15s", "tests": [test]}))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def _split(text: str) -> tuple[str, str]:
    query, _, at = text.rpartition(" @ ")
    return query, at


def firing(rule: Rule) -> str:
    return f'count(ALERTS{{alertname="{rule.name}",alertstate="firing"}})'


def test_every_alert_has_a_fault_here() -> None:
    assert set(FAULTS) == set(BY_NAME)


@needs_promtool
def test_the_rules_are_valid() -> None:
    done = subprocess.run(["promtool", "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_no_alert_is_pending_over_a_healthy_service(tmp_path: Path) -> None:
    assert evaluate(tmp_path, HEALTHY, {f"count(ALERTS) @ {minute * 60}": None for minute in (5, 20, 45)}) == ""


@needs_promtool
@pytest.mark.parametrize("name", FAULTS)
def test_an_alert_fires_after_its_time_and_not_before(name: str, tmp_path: Path) -> None:
    rule, fault = BY_NAME[name], FAULTS[name]
    unknown = set(fault.series) - set(HEALTHY)
    assert not unknown, "a fault changes a series of a healthy service"
    holds = FAULT + fault.within
    checks: dict[str, int | None] = {
        f"{firing(rule)} @ {FAULT - STEP}": None,
        f"{firing(rule)} @ {holds + rule.seconds + STEP}": 1,
    }
    if rule.seconds:
        checks[f"{firing(rule)} @ {FAULT + rule.seconds - STEP}"] = None
        checks[f'count(ALERTS{{alertname="{name}"}}) @ {holds + STEP}'] = 1
    assert evaluate(tmp_path, {**HEALTHY, **fault.series}, checks) == ""


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.name)
def test_an_alert_has_a_severity_a_sentence_and_a_paragraph(rule: Rule) -> None:
    assert rule.labels["severity"] in {"critical", "warning"}
    assert rule.annotations["summary"].endswith(".")
    assert rule.annotations["runbook_url"] == f"docs/operate/alerts.md#{rule.name.lower()}"
    paragraph = PAGE.read_text().split(f"\n### {rule.name}\n", 1)
    assert len(paragraph) == 2, "docs/operate/alerts.md has no paragraph"
    assert len(paragraph[1].split("\n#", 1)[0].split()) >= 30, "the paragraph says what to look at and what to do"
