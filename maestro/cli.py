"""The command `maestro`: each process, and what a person types."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from maestro import terminal
from maestro.client import DEFAULT_URL, Client
from maestro.errors import BadInput, MaestroError, NotFound, Unauthorized, Unavailable

COMPLETED, FAILED, REFUSED, AWAY, INTERRUPTED = 0, 1, 2, 3, 130

_POLL_SECONDS = 0.2
_PENDING_SECONDS = 5
_AWAY_SECONDS = 60
"""How long a followed job's API may be away before the command gives up on it."""
_ENDED = ("completed", "completed_no_invoices", "failed", "canceled")

_PROCESSES = (
    ("worker", "maestro.worker.main", "consume a queue and run a bot for each job"),
    ("dispatcher", "maestro.dispatcher.main", "fire due schedules and publish what is owed"),
    ("migrate", "maestro.db.migrate", "bring the database to this version's schema"),
    ("bootstrap", "maestro.bootstrap", "make the Secrets a release lacks"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    chosen = _parser().parse_args(arguments)
    try:
        return int(chosen.run(chosen))
    except Unavailable as error:
        return _say(error.message, AWAY)
    except MaestroError as error:
        return _say(error.message, REFUSED)
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="maestro", description="Robotic process automations on Kubernetes.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_execute(commands)
    for name, module, what in _PROCESSES:
        commands.add_parser(name, help=what, description=what).set_defaults(run=_process, module=module)
    return parser


def _add_execute(commands: Any) -> None:
    what = "execute an automation"
    command = commands.add_parser(
        "execute",
        help=what,
        description=f"{what}. MAESTRO_API_URL and MAESTRO_TOKEN say where and as whom.",
        epilog="Exit code: 0 done, 1 the job failed or was canceled, 2 refused, 3 the API is away.",
    )
    command.add_argument("name", metavar="NAME", help="its name, resource name, queue or id")
    command.add_argument("--parameters", metavar="JSON", default="{}", help="an object, or @file")
    command.add_argument("--follow", action="store_true", help="print the log live, then the result")
    command.add_argument(
        "--wait-for-automation", metavar="SECONDS", type=float, default=0, help="until it is registered"
    )
    command.set_defaults(run=_execute)


def _process(chosen: argparse.Namespace) -> int:
    # Only now: a bot's image runs `maestro worker` without the server's libraries.
    return int(import_module(chosen.module).main() or COMPLETED)


def _execute(chosen: argparse.Namespace) -> int:
    parameters = _parameters(chosen.parameters)
    token = os.environ.get("MAESTRO_TOKEN")
    if not token:
        raise Unauthorized("Set MAESTRO_TOKEN to a bearer token; `make token` prints the admin's.")
    client = Client(token, os.environ.get("MAESTRO_API_URL") or DEFAULT_URL)
    automation = _await_automation(client, chosen.name, chosen.wait_for_automation)
    job = client.execute(automation["id"], parameters)
    if not chosen.follow:
        print(job["id"])
        return COMPLETED
    print(f"Job {job['id']} of {terminal.escaped(automation['name'])}", flush=True)
    return _follow(client, job["id"])


def _parameters(given: str) -> dict[str, Any]:
    try:
        text = Path(given[1:]).read_text(encoding="utf-8") if given.startswith("@") else given
        parameters = json.loads(text, parse_constant=_no_constant)
    except (OSError, ValueError) as error:
        raise BadInput(f"--parameters can't be read as JSON: {error}") from None
    if not isinstance(parameters, dict):
        raise BadInput('--parameters must be a JSON object, such as \'{"month": "2026-10"}\'.')
    return parameters


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _await_automation(client: Client, name: str, seconds: float) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return client.automation(name)
        except (NotFound, Unavailable):
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_SECONDS)


def _follow(client: Client, job_id: str) -> int:
    try:
        job = _Follower(client, job_id).watch()
    except KeyboardInterrupt:
        return _say(f"Job {job_id} goes on without being watched.", INTERRUPTED)
    print(f"Job {job['status']}")
    if job.get("result"):
        print(f"\n{terminal.result(job['result'])}")
    return FAILED if job["status"] in ("failed", "canceled") else COMPLETED


class _Follower:
    """Prints a job's lines as they come, each once, also across a short absence of the API."""

    def __init__(self, client: Client, job_id: str) -> None:
        self._client, self._job_id = client, job_id
        self._last_line = 0
        self._answered = self._began = time.monotonic()
        self._told_pending = False

    def watch(self) -> dict[str, Any]:
        """Return the job once it has ended."""
        while True:
            try:
                job = self._look()
            except Unavailable:
                if time.monotonic() > self._answered + _AWAY_SECONDS:
                    raise
            else:
                self._answered = time.monotonic()
                if job["status"] in _ENDED:
                    return job
                self._tell_pending(job["status"])
            time.sleep(_POLL_SECONDS)

    def _look(self) -> dict[str, Any]:
        # First the state, then the lines: those of an ended job are all there.
        job = self._client.job(self._job_id)
        while lines := self._client.logs(self._job_id, self._last_line):
            for line in lines:
                print(terminal.log_line(line), flush=True)
            self._last_line = lines[-1]["id"]
        return job

    def _tell_pending(self, status: str) -> None:
        waits_long = status == "pending" and time.monotonic() > self._began + _PENDING_SECONDS
        if waits_long and not self._told_pending:
            self._told_pending = True
            _say("The job waits for a worker…")


def _say(message: str, code: int = 0) -> int:
    print(message, file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
