"""What a run collects: samples, and what went wrong."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
import requests

MAESTRO, CELERY, PROCRASTINATE = "Maestro", "Celery", "procrastinate"
NULL, DISK = "null server", "disk"


class ScenarioFailed(RuntimeError):
    """A scenario could not be run, or had errors; its figures would mean nothing."""


@dataclass(frozen=True)
class Load:
    """What the machine did meanwhile: requests a second, and the cores that were busy on average."""

    requests: float
    driver: float
    service: float
    machine: float


@dataclass(frozen=True)
class Sample:
    """One figure of one round, in the unit of its row."""

    row: str
    system: str
    figure: float
    load: Load | None = None


@dataclass
class Record:
    """All samples and failures of a run."""

    samples: list[Sample] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def add(self, row: str, system: str, figure: float, load: Load | None = None) -> None:
        self.samples.append(Sample(row, system, figure, load))
        print(f"    {system:14} {row:22} {figure:,.2f}", flush=True)

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """Note that this failed, and let the others go on."""
        try:
            yield
        except (
            ScenarioFailed,
            OSError,
            ValueError,
            KeyError,
            subprocess.SubprocessError,
            psycopg.Error,
            requests.RequestException,
        ) as error:
            self.failures.append(f"{what}: {type(error).__name__}: {error}")
            print(f"    FAILED {self.failures[-1]}", flush=True)

    def figures(self, row: str, system: str) -> list[float]:
        return [each.figure for each in self.samples if (each.row, each.system) == (row, system)]

    def loads(self, row: str, system: str) -> list[Load]:
        return [each.load for each in self.samples if (each.row, each.system) == (row, system) and each.load]
