"""``make soak [READERS= GENERATIONS= SECONDS=]``: a steady load and deploys; series are flat, answers whole."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dev.process import CannotRun
from tests.chaos.evidence import Dump, dump_redis
from tests.soak import report
from tests.soak.clients import Clients, ended
from tests.soak.deployment import Deployment, Size
from tests.soak.plants import PLANTS
from tests.soak.sampling import Sampler
from tests.soak.series import Finding, findings, quantiles

OUT = Path(__file__).resolve().parents[2] / "out" / "soak"
# Seconds between the begins of two deploys, between two samples, and of a process's warming; short runs scale them.
DEPLOY_SECONDS, SAMPLE_SECONDS, WARM_SECONDS = 300.0, 5.0, 60.0
RATE = 5.0  # events a second of each answer
ANSWER_SECONDS = 60.0
# Threads judge rounds beside the loop of the readers. With Python's 5 ms each read of a socket waits that long for the
# interpreter, and the readers fall behind.
SWITCH_SECONDS = 0.0005
EXCERPT = 40


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = _options()
    directory = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        verdict, red = asyncio.run(_soak(directory, options))
    except CannotRun as reason:
        print(f"failed      soak: {reason}")
        return 1
    finally:
        _keep_logs(directory, options.out)
    if options.plant:
        caught = [name for name in red if name.startswith(PLANTS[options.plant])]
        print(f"plant {options.plant}: found by {', '.join(caught) or 'nobody'}")
        return 0 if caught else 1
    return 0 if verdict == "passed" else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--readers", type=int, default=int(os.environ.get("READERS") or 1000))
    parser.add_argument("--generations", type=int, default=int(os.environ.get("GENERATIONS") or 200))
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("SECONDS") or 3600))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or 1))
    parser.add_argument("--plant", choices=[*PLANTS], help="a leak that the run must find")
    parser.add_argument("--out", type=Path, default=OUT, help="where the report goes")
    return parser.parse_args()


def pace(seconds: float) -> tuple[float, float, float]:
    """Seconds between deploys, between samples, and of warming. A run has two deploys at least."""
    deploys = min(DEPLOY_SECONDS, seconds / 3)
    return deploys, min(SAMPLE_SECONDS, deploys / 40), min(WARM_SECONDS, deploys / 3)


def size(options: argparse.Namespace) -> Size:
    """The load: answers of a minute, or of a fifth of a short run."""
    tokens = int(RATE * min(ANSWER_SECONDS, options.seconds / 5))
    every, _, _ = pace(options.seconds)
    return Size(options.readers, options.generations, options.seconds, tokens, RATE, every)


async def _soak(directory: Path, options: argparse.Namespace) -> tuple[str, list[str]]:
    """Run the soak and write its report. Returns the verdict and the names of the series that grow."""
    sys.setswitchinterval(SWITCH_SECONDS)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(32))
    load, (every, period, warm) = size(options), pace(options.seconds)
    async with Deployment(directory, load, options.plant) as deployment:
        clients = Clients(deployment, options.seed)
        sampler = Sampler(deployment, clients, period)
        sampling = asyncio.ensure_future(sampler.run())
        working = asyncio.gather(_deploy(deployment, every, options.seconds), clients.run(options.seconds))
        await asyncio.wait({sampling, working}, return_when=asyncio.FIRST_COMPLETED)
        if sampling.done():
            sampling.result()
        await working
        await ended(sampling)
        endless = await asyncio.to_thread(_endless, deployment)
    samples = sampler.samples
    series = samples.series | quantiles(clients.latencies, samples)
    found = findings(series, samples, load, warm)
    red = [finding for finding in found if not finding.flat]
    wrong = clients.violations + [f"{one.process}: {one.how}" for one in deployment.exits] + endless
    verdict = "failed" if red or wrong or not clients.answers else "passed"
    result: dict[str, Any] = {
        "verdict": verdict,
        "size": asdict(load),
        "answers": clients.answers,
        "readings": clients.readings,
        "events": clients.events,
        "deploys": deployment.deploys,
        "violations": wrong[:EXCERPT],
        "errors": samples.errors[:EXCERPT],
        "too few points": sorted(set(series) - {finding.name for finding in found}),
    }
    report.write(options.out, result, series, found, samples.began)
    _print(result, len(wrong), red, options.out)
    return verdict, [finding.name for finding in red]


async def _deploy(deployment: Deployment, every: float, seconds: float) -> None:
    """Deploy every ``every`` seconds while the load lasts."""
    began = time.monotonic()
    due = every
    while due < seconds - 1:
        await asyncio.sleep(max(0.0, began + due - time.monotonic()))
        await deployment.deploy()
        due = max(due + every, time.monotonic() - began)


def _endless(deployment: Deployment) -> list[str]:
    """A complaint for each key of Redis without a time to live; the broker's own are not the service's."""
    dump = Dump()
    dump_redis(deployment.valkey.url(), deployment.namespace, set(), dump)
    return [f"{key} has no time to live" for key in dump.endless_keys]


def _print(result: dict[str, Any], wrong: int, red: list[Finding], out: Path) -> None:
    load = result["size"]
    print(
        f"{result['verdict']:11} soak: {load['readers']} readers, {load['generations']} generations,"
        f" {load['seconds']:g} s, {len(result['deploys'])} deploys; {result['answers']} answers to"
        f" {result['readings']} readers, {result['events']} events; report: {out / 'index.html'}"
    )
    for finding in red:
        print(f"    grows: {finding.name} by {finding.grown:.4g} {finding.unit}, allowed are {finding.allowed:.4g}")
    if few := result["too few points"]:
        print(f"    without a verdict, too few points: {', '.join(few)}")
    for line in (result["violations"] + result["errors"])[:12]:
        print(f"    {line[:400]}")
    if wrong > EXCERPT:
        print(f"    … {wrong} in all", flush=True)


def _keep_logs(directory: Path, out: Path) -> None:
    logs = out / "logs"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    for log in directory.glob("*.log"):
        shutil.copy(log, logs)
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
