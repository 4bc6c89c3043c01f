"""A real Prometheus with the alerts of the deployment, on a shorter clock."""

from __future__ import annotations

import json
import shutil
import time
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from dev.process import CannotRun, Process, Program, last_lines
from dev.server import HOST, free_port
from tests.alerts.rules import RULES, seconds

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
# Production scrapes and evaluates every 15 s; here every 3 s, and each `for` is a fifth. A scrape needs 2 s while a
# store is frozen, so its interval cannot be shorter. Thresholds and windows in the expressions stay as they are.
SCALE = 5
INTERVAL = 15 // SCALE
START_SECONDS = 60.0


class Prometheus:
    """A server that scrapes ``targets``, addresses by job. ``alerts`` returns the state of each alert."""

    def __init__(self, directory: Path, targets: dict[str, list[str]]) -> None:
        self.url = f"http://{HOST}:{free_port()}"
        self._directory = directory
        self._targets = targets
        self._log = directory / "prometheus.log"
        self._process: Process | None = None

    def start(self) -> None:
        """Start the server, and wait until it has scraped every target. Raises CannotRun."""
        binary = shutil.which("prometheus")
        if binary is None:
            raise CannotRun("prometheus is not installed (Debian's package prometheus)")
        self._directory.mkdir(parents=True, exist_ok=True)
        (self._directory / "rules.yml").write_text(scaled_rules())
        (self._directory / "prometheus.yml").write_text(self._configuration())
        arguments = (
            f"--config.file={self._directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._directory / 'data'}",
            f"--web.listen-address={self.url.removeprefix('http://')}",
        )
        self._process = Program("prometheus", (binary, *arguments), self._log).start()
        deadline = time.monotonic() + START_SECONDS
        while not self._has_scraped():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise CannotRun(f"prometheus scrapes nothing:\n{last_lines(self._log)}")
            time.sleep(0.2)

    def stop(self) -> None:
        """Kill the server."""
        if self._process is not None:
            self._process.kill()

    def alerts(self) -> dict[str, str]:
        """The state of the alerts that are ``pending`` or ``firing``, by name."""
        found: dict[str, str] = {}
        for alert in self._get("/api/v1/alerts")["alerts"]:
            name, state = alert["labels"]["alertname"], alert["state"]
            found[name] = "firing" if "firing" in (state, found.get(name)) else state
        return found

    def summaries(self) -> dict[str, str]:
        """The sentence of each alert that is pending or firing, by name."""
        found = self._get("/api/v1/alerts")["alerts"]
        return {alert["labels"]["alertname"]: alert["annotations"]["summary"] for alert in found}

    def _has_scraped(self) -> bool:
        try:
            targets = self._get("/api/v1/targets")["activeTargets"]
        except OSError:
            return False
        return bool(targets) and all(target["health"] == "up" for target in targets)

    def _configuration(self) -> str:
        jobs = [{"job_name": job, "static_configs": [{"targets": found}]} for job, found in self._targets.items()]
        clock = {"scrape_interval": f"{INTERVAL}s", "scrape_timeout": f"{INTERVAL}s"}
        clock["evaluation_interval"] = f"{INTERVAL}s"
        return yaml.safe_dump({"global": clock, "rule_files": ["rules.yml"], "scrape_configs": jobs})

    def _get(self, path: str) -> Any:
        with OPENER.open(self.url + path, timeout=5) as response:
            return json.load(response)["data"]


def scaled_rules() -> str:
    """The rules with the interval of every group and each ``for`` divided by SCALE."""
    content = yaml.safe_load(RULES.read_text())
    for group in content["groups"]:
        group["interval"] = f"{INTERVAL}s"
        for rule in group["rules"]:
            rule["for"] = f"{seconds(rule.get('for', '0s')) // SCALE}s"
    return yaml.safe_dump(content)
