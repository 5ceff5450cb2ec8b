"""The load driver (../driver), and whose CPU time a scenario took."""

import json
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.service import host
from bench.service.measured import Load, ScenarioFailed


@dataclass(frozen=True)
class Driver:
    """The program with its credentials."""

    program: Path
    token: str
    worker_key: str
    seconds: float

    @property
    def environment(self) -> dict[str, str]:
        return {"BENCH_TOKEN": self.token, "BENCH_WORKER_KEY": self.worker_key}

    def run(
        self, scenario: str, port: int, pids: Sequence[int] = (), **flags: Any
    ) -> tuple[dict[str, Any], Load]:
        """The driver's report, and what the machine did; `pids` are the service's processes.

        Raises ScenarioFailed when a reply was not the expected one.
        """
        busy, used, began = host.busy_seconds(), host.used_seconds(pids), time.monotonic()
        report = self._report(scenario, port, flags)
        elapsed = time.monotonic() - began
        if report["failures"]:
            raise ScenarioFailed("; ".join(report["failures"]))
        if report.get("requests") == 0:
            raise ScenarioFailed("nothing was answered within the measured time")
        load = Load(
            requests=report.get("requests", report.get("deliveries", 0)) / report["seconds"],
            driver=report["cpu_seconds"] / report["seconds"],
            service=(host.used_seconds(pids) - used) / elapsed,
            machine=(host.busy_seconds() - busy) / elapsed,
        )
        return report, load

    def _report(self, scenario: str, port: int, flags: dict[str, Any]) -> dict[str, Any]:
        chosen = {"address": f"127.0.0.1:{port}", "seconds": self.seconds} | flags
        done = subprocess.run(
            [self.program, scenario, *(f"-{name}={value}" for name, value in chosen.items())],
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            timeout=self.seconds + 120,
            check=False,
        )
        if done.returncode:
            raise ScenarioFailed(done.stderr.strip())
        report: dict[str, Any] = json.loads(done.stdout)
        return report
