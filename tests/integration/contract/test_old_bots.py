"""Bots written for rps-maestro, run as they are: `tests/bots/old_bot.py` as processes of their own."""

import ast
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from integration.api.service import WORKER_KEY, eventually
from integration.contract.stack import DEAD_LETTERED, Stack

SCRIPT = Path(__file__).parents[2] / "bots" / "old_bot.py"
SUMMARY = {"summary": {"ok": 1, "failed": []}}


class Bot:
    """A process of the script, and what it has written."""

    def __init__(self, stack: Stack, queue: str, kind: str, log: Path) -> None:
        self._log = log
        environment = {
            "PATH": os.environ["PATH"],
            "API_URL": f"{stack.service.root}/api/v1",
            "AMQP_URL": stack.broker.amqp_url,
            "WORKER_KEY": WORKER_KEY,
            "QUEUE": queue,
            "BOT_KIND": kind,
            "POLL_SECONDS": "0.4",
        }
        with log.open("ab") as output:
            # -I: nothing of this tree is on its path.
            command = [sys.executable, "-I", str(SCRIPT)]
            self.process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def calls(self, job: str) -> list[str]:
        """What it called and was answered for a job, such as `start 200`."""
        lines = (line.split(" ", 1) for line in self.log.splitlines() if " " in line)
        return [call for about, call in lines if about == job]

    def called(self, job: str, call: str, seconds: float = 20) -> None:
        eventually(lambda: call in self.calls(job), seconds)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


Start = Callable[..., Bot]


@pytest.fixture
def start(stack: Stack, tmp_path: Path) -> Iterator[Start]:
    bots: list[Bot] = []

    def starter(automation: dict[str, Any], kind: str = "careful") -> Bot:
        bot = Bot(stack, automation["queueName"], kind, tmp_path / f"bot-{len(bots)}.log")
        bots.append(bot)
        eventually(lambda: "consuming" in bot.log, 20)
        return bot

    yield starter
    for bot in bots:
        bot.kill()


def without_repeats(calls: list[str]) -> list[str]:
    return [call for before, call in zip([None, *calls], calls, strict=False) if call != before]


def messages_left(stack: Stack, queue: str) -> int:
    """In a queue that nobody consumes any more."""
    with stack.broker.connect() as connection:
        declared = connection.channel().queue_declare(queue, durable=True, arguments=DEAD_LETTERED)
        return int(declared.method.message_count)


def test_the_script_knows_nothing_of_maestro() -> None:
    tree = ast.parse(SCRIPT.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert imported == {"json", "os", "time", "pika", "requests"}


def test_a_careful_bot(stack: Stack, start: Start) -> None:
    made = stack.automation()
    bot = start(made)
    job = stack.job(made, {"seconds": 1})["id"]
    ended = stack.ended(job)
    assert (ended["status"], ended["result"], ended["attempt"]) == ("completed", SUMMARY, 1)
    bot.called(job, "finish 200")
    whole = ["status 200", "start 200", "log 201", "cancellation 200", "finish 200"]
    assert without_repeats(bot.calls(job)) == whole
    [line] = stack.service.get(f"/jobs/{job}/logs").json()
    assert line["message"] == f"running bot.py of automation {made['id']}"
    # One that is canceled while it runs, and one canceled while that one had the bot.
    running, waiting = (stack.job(made, {"seconds": 60})["id"] for _ in range(2))
    bot.called(running, "cancellation 200")
    assert stack.service.post(f"/jobs/{waiting}/cancel").json()["status"] == "canceled"
    assert stack.service.post(f"/jobs/{running}/cancel").json()["status"] == "running"
    assert stack.ended(running)["status"] == "canceled"
    last = stack.job(made)["id"]
    assert stack.ended(last)["status"] == "completed"
    assert bot.calls(waiting) == ["status 200"]
    bot.kill()
    assert messages_left(stack, made["queueName"]) == 0


def test_a_bot_killed_at_work_leaves_its_job_to_another(stack: Stack, start: Start) -> None:
    made = stack.automation()
    first = start(made)
    job = stack.job(made, {"seconds": 5})["id"]
    first.called(job, "cancellation 200")
    second = start(made)
    first.kill()
    ended = stack.ended(job)
    assert (ended["status"], ended["attempt"], ended["retryCount"]) == ("completed", 2, 1)
    second.called(job, "finish 200")
    whole = ["status 200", "start 200", "log 201", "cancellation 200", "finish 200"]
    assert without_repeats(second.calls(job)) == whole


def test_a_bot_that_nobody_hears_of_while_it_works(stack: Stack, start: Start) -> None:
    made = stack.automation(heartbeatTimeoutSeconds=10)
    bot = start(made, "silent")
    job = stack.job(made, {"seconds": 8})["id"]
    bot.called(job, "log 201")
    stack.change("UPDATE service_clock SET up_since = now() - interval '2 hours'")
    stack.change("UPDATE jobs SET last_heartbeat_at = now() - interval '1 hour' WHERE id = %s", job)
    statuses = set()
    while not bot.process.poll() and "finish 200" not in bot.calls(job):
        statuses.add(stack.shown(job)["status"])
        time.sleep(0.1)
    ended = stack.shown(job)
    assert statuses <= {"running", "completed"}  # never rescued
    assert (ended["status"], ended["result"], ended["attempt"]) == ("completed", SUMMARY, 1)
    assert bot.calls(job) == ["start 200", "log 201", "finish 200"]


def test_a_bot_that_sends_finish_again(stack: Stack, start: Start) -> None:
    made = stack.automation()
    bot = start(made, "insistent")
    job = stack.job(made)["id"]
    eventually(lambda: bot.calls(job)[-2:] == ["finish 200", "finish 200"], 20)
    assert [call.split()[0] for call in bot.calls(job)].count("finish") == 3
    shown = stack.shown(job)
    assert (shown["status"], shown["result"], shown["attempt"]) == ("completed", SUMMARY, 1)


def test_a_bot_that_sends_finish_through_an_outage(stack: Stack, start: Start) -> None:
    made = stack.automation()
    bot = start(made, "insistent")
    job = stack.job(made, {"seconds": 1})["id"]
    bot.called(job, "cancellation 200")
    lock_out(stack)
    try:
        bot.called(job, "finish 503")
    finally:
        let_in(stack)
    ended = stack.ended(job)
    assert (ended["status"], ended["result"], ended["attempt"]) == ("completed", SUMMARY, 1)
    eventually(lambda: bot.calls(job)[-2:] == ["finish 200", "finish 200"], 20)


def lock_out(stack: Stack) -> None:
    """Nobody reaches the database any more."""
    name = conninfo_to_dict(stack.database_uri)["dbname"]
    with _beside(stack) as connection:
        connection.execute(
            sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(str(name)))
        )
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )


def let_in(stack: Stack) -> None:
    name = conninfo_to_dict(stack.database_uri)["dbname"]
    with _beside(stack) as connection:
        connection.execute(
            sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(str(name)))
        )


def _beside(stack: Stack) -> psycopg.Connection:
    return psycopg.connect(make_conninfo(stack.database_uri, dbname="postgres"), autocommit=True)


def test_a_job_that_kills_its_bot_each_time(stack: Stack, start: Start) -> None:
    made = stack.automation(retryPolicy={"maxAttempts": 2})
    job = stack.job(made, {"deadly": True})["id"]
    deaths, done = [], threading.Event()

    def keep_one_running() -> None:
        """As a Deployment does."""
        while not done.is_set():
            bot = start(made)
            while bot.process.poll() is None and not done.wait(0.05):
                pass
            deaths.append((bot.process.poll(), bot.calls(job)))

    keeper = threading.Thread(target=keep_one_running)
    keeper.start()
    try:
        ended = stack.ended(job, 60)
        after = stack.ended(stack.job(made)["id"], 60)
    finally:
        done.set()
        keeper.join()
    assert (ended["status"], ended["errorClass"], ended["attempt"]) == ("failed", "WORKER_LOST", 2)
    assert after["status"] == "completed"
    assert [calls for code, calls in deaths if code == 137] == [["status 200", "start 200", "log 201"]] * 2
    # Its start is refused, and whoever comes next sees that the job has ended.
    assert [calls for code, calls in deaths if code != 137] == [["status 200", "start 409"], ["status 200"]]
    assert stack.shown(job) == ended
    eventually(lambda: messages_left(stack, made["queueName"]) == 0, 10)
