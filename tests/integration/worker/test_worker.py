"""`maestro worker` as a process, against a real RabbitMQ and a real HTTP server."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pika
import pytest
import requests

from integration.servers import Broker, free_port
from integration.worker.contract import WORKER_KEY, Call, Contract, Reply, new_job

QUEUE = "bots.invoices"

GREETER = """
def run(parameters, context):
    print("hello", parameters.get("who"))
    context.log.warning("careful")
    return {"greeted": parameters.get("who")}
"""

GATED = """
import pathlib, time
def run(parameters, context):
    print("running")
    while not pathlib.Path(parameters["gate"]).exists():
        time.sleep(0.02)
    print("going on")
    return {"gate": "open"}
"""


def eventually(probe: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := probe()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)
    return found


def alive(pid: int) -> bool:
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())  # empty: a zombie
    except FileNotFoundError:
        return False


class Worker:
    """A running `maestro worker`; its log goes to a file."""

    def __init__(
        self, directory: Path, script: str, contract: Contract, amqp_url: str, **settings: str
    ) -> None:
        number = len(list(directory.glob("*.log")))
        (directory / "bot.py").write_text(textwrap.dedent(script))
        self.log_path = directory / f"worker-{number}.log"
        self.ready = directory / f"ready-{number}"
        environment = {
            "MAESTRO_API_URL": contract.url,
            "MAESTRO_WORKER_KEY": WORKER_KEY,
            "MAESTRO_AMQP_URL": amqp_url,
            "MAESTRO_QUEUE": QUEUE,
            "MAESTRO_SCRIPT": str(directory / "bot.py"),
            "MAESTRO_READY_FILE": str(self.ready),
        }
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "maestro.worker.main"],
                env=os.environ | environment | {f"MAESTRO_{k.upper()}": v for k, v in settings.items()},
                stdout=log,
                stderr=log,
            )

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def wait_ready(self) -> "Worker":
        eventually(self.ready.exists, "the worker consumes")
        return self

    def says(self, text: str, seconds: float = 20) -> None:
        eventually(lambda: text in self.log, f"the worker says {text!r}; it said:\n{self.log}", seconds)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)


@pytest.fixture
def contract() -> Iterator[Contract]:
    server = Contract()
    yield server
    server.down()


class Bench:
    """A queue as the operator makes it, the contract's server, and workers on them."""

    def __init__(self, broker: Broker, contract: Contract, directory: Path) -> None:
        self.broker, self.contract, self.directory = broker, contract, directory
        self.workers: list[Worker] = []

    def declare(self) -> None:
        with self.broker.connect() as connection:
            channel = connection.channel()
            channel.exchange_declare("maestro.dlx", "direct", durable=True)
            channel.queue_declare("maestro.dlq", durable=True)
            channel.queue_bind("maestro.dlq", "maestro.dlx", QUEUE)
            channel.queue_declare(QUEUE, durable=True, arguments={"x-dead-letter-exchange": "maestro.dlx"})

    def publish(self, body: bytes, queue: str = QUEUE) -> None:
        with self.broker.connect() as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            properties = pika.BasicProperties(delivery_mode=2, content_type="application/json")
            channel.basic_publish("", queue, body, properties, mandatory=True)

    def execute(self, **parameters: Any) -> str:
        job = new_job()
        message = {"job_id": job, "automation_id": 1, "script_path": None, "parameters": parameters}
        self.publish(json.dumps(message).encode())
        return job

    def worker(self, script: str, *, amqp_url: str | None = None, **settings: str) -> Worker:
        worker = Worker(self.directory, script, self.contract, amqp_url or self.broker.amqp_url, **settings)
        self.workers.append(worker)
        return worker

    def depth(self, queue: str = QUEUE) -> int:
        """Ready messages."""
        with self.broker.connect() as connection:
            return int(connection.channel().queue_declare(queue, passive=True).method.message_count)

    def gate(self) -> Path:
        return self.directory / f"gate-{time.monotonic_ns()}"


@pytest.fixture
def bench(broker: Broker, contract: Contract, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(broker, contract, tmp_path)
    bench.declare()
    yield bench
    for worker in bench.workers:
        worker.process.kill()
        worker.process.wait()
        print(worker.log)


def test_a_job_from_message_to_result(bench: Bench) -> None:
    bench.worker(GREETER).wait_ready()
    job = bench.execute(who="Ana")
    assert bench.contract.finished(job) == ("completed", {"greeted": "Ana"})
    assert bench.contract.lines(job) == [("INFO", "hello Ana"), ("WARNING", "careful")]
    calls = bench.contract.of(job)
    assert [calls[0].what, calls[-1].what] == ["start", "finish"]
    assert len({call.token for call in calls}) == 1
    assert calls[0].token


def test_its_metrics_on_a_port_that_is_asked_for(bench: Bench) -> None:
    def told(name: str) -> float:
        text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
        assert WORKER_KEY not in text
        found = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return float(found.get(name, 0))

    port, gate = free_port(), bench.gate()
    bench.worker(GATED, metrics_port=str(port)).wait_ready()
    assert told("maestro_worker_busy") == 0
    done = bench.execute(gate=str(gate))
    bench.contract.wait_for(done, "logs")
    assert told("maestro_worker_busy") == 1
    gate.touch()
    bench.contract.finished(done)
    bench.contract.finished(bench.execute(nothing="it needs"))
    eventually(lambda: told("maestro_worker_busy") == 0, "the job is no longer in hand")
    assert told('maestro_worker_jobs_total{status="completed"}') == 1
    assert told('maestro_worker_jobs_total{status="failed"}') == 1
    assert told("maestro_worker_log_lines_total") >= 3
    assert told("maestro_worker_log_backlog_lines") == 0
    assert told("maestro_worker_log_lines_lost_total") == 0


def test_one_after_the_other_each_with_its_own_token(bench: Bench) -> None:
    bench.worker(GREETER).wait_ready()
    jobs = [bench.execute(who=str(number)) for number in range(5)]
    for number, job in enumerate(jobs):
        assert bench.contract.finished(job) == ("completed", {"greeted": str(number)})
    assert len({bench.contract.of(job, "start")[0].token for job in jobs}) == 5
    starts_and_ends = [call.job_id for call in bench.contract.calls if call.what in ("start", "finish")]
    assert starts_and_ends == [job for job in jobs for _ in range(2)]


def test_from_publish_to_start_within_tens_of_milliseconds(bench: Bench) -> None:
    bench.worker("def run(parameters, context): pass").wait_ready()
    delays = []
    with bench.broker.connect() as connection:
        channel = connection.channel()
        for _ in range(20):
            job = new_job()
            channel.basic_publish("", QUEUE, json.dumps({"job_id": job}).encode())
            published = time.monotonic()
            bench.contract.finished(job)
            delays.append(bench.contract.of(job, "start")[0].at - published)
            time.sleep(0.05)
    print([f"{delay * 1000:.1f} ms" for delay in delays])
    assert sorted(delays)[10] < 0.05


def test_a_failing_bot_fails_its_job_and_the_worker_goes_on(bench: Bench) -> None:
    worker = bench.worker("def run(parameters, context): return {'n': 1 // parameters['n']}").wait_ready()
    bad, good = bench.execute(n=0), bench.execute(n=1)
    status, result = bench.contract.finished(bad)
    assert (status, result["error_type"], result["error_class"]) == ("failed", "ZeroDivisionError", "UNKNOWN")
    assert "1 // parameters['n']" in result["traceback"]
    assert bench.contract.lines(bad)[-1][0] == "ERROR"
    assert bench.contract.finished(good) == ("completed", {"n": 1})
    assert worker.process.poll() is None


def test_a_killed_bot_is_a_failed_job(bench: Bench) -> None:
    bench.worker(
        "import os\ndef run(p, c):\n    print('pid', os.getpid(), flush=True)\n    os.kill(os.getpid(), 9)"
    )
    job = bench.execute()
    status, result = bench.contract.finished(job)
    assert status == "failed"
    assert "SIGKILL" in result["error"]
    assert bench.contract.lines(job)[0][1].startswith("pid")


def test_the_message_is_acknowledged_while_the_bot_runs(bench: Bench) -> None:
    worker = bench.worker(GATED).wait_ready()
    job = bench.execute(gate=str(bench.gate()))
    bench.contract.wait_for(job, "logs")
    worker.process.kill()
    worker.process.wait()
    assert bench.depth() == 0


def test_a_busy_worker_leaves_the_next_job_to_an_idle_one(bench: Bench) -> None:
    bench.worker(GATED).wait_ready()
    gate = bench.gate()
    long = bench.execute(gate=str(gate))
    bench.contract.wait_for(long, "logs")
    waiting = bench.execute(gate=str(bench.directory))
    assert eventually(lambda: bench.depth() == 1, "the second message stays ready")
    bench.worker(GATED)
    assert bench.contract.finished(waiting) == ("completed", {"gate": "open"})
    assert not bench.contract.of(long, "finish")
    gate.touch()
    assert bench.contract.finished(long)[0] == "completed"


def test_an_unreadable_message_is_dead_lettered(bench: Bench) -> None:
    bench.worker(GREETER).wait_ready()
    bench.publish(b"{not json")
    bench.publish(json.dumps({"job_id": "seven"}).encode())
    job = bench.execute(who="after")
    assert bench.contract.finished(job)[0] == "completed"
    assert eventually(lambda: bench.depth("maestro.dlq") == 2, "both are in the dead-letter queue")


@pytest.mark.parametrize(("status", "says"), [(409, "the job has ended"), (404, "no such job")])
def test_a_job_that_is_not_to_start_is_dropped(bench: Bench, status: int, says: str) -> None:
    stale = new_job()
    bench.contract.answer = lambda call: Reply(status, {"error": says}) if call.job_id == stale else None
    worker = bench.worker(GREETER).wait_ready()
    bench.publish(json.dumps({"job_id": stale}).encode())
    assert bench.contract.finished(bench.execute(who="next"))[0] == "completed"
    worker.says(f"message dropped, the API says {status}: {says}")
    worker.terminate()
    worker.process.wait(10)
    assert (bench.depth(), bench.depth("maestro.dlq")) == (0, 0)


@pytest.mark.parametrize("status", [400, 404])
def test_an_answer_that_is_not_maestros_hands_the_job_back(bench: Bench, status: int) -> None:
    asked: list[float] = []

    def misrouted_once(call: Call) -> Reply | None:
        asked.append(call.at)
        return Reply(status, {"error": f"no {call.job_id} here"}, strangers=True) if len(asked) == 1 else None

    bench.contract.answer = misrouted_once
    worker = bench.worker(GREETER, start_retry_seconds="0").wait_ready()
    job = bench.execute(who="Ana")
    worker.says(f"{status} from something that is not Maestro's API, check MAESTRO_API_URL")
    assert bench.contract.finished(job)[0] == "completed"
    assert asked[1] - asked[0] > 4, "a queue of such messages must not spin"


def test_answers_that_are_not_maestros_harm_no_running_job(bench: Bench) -> None:
    misrouted: dict[str, int] = {}

    def misroute(call: Call) -> Reply | None:
        misrouted[call.what] = misrouted.get(call.what, 0) + 1
        early = call.what != "start" and misrouted[call.what] <= 3
        return Reply(404, {"error": "no route"}, strangers=True) if early else None

    bench.contract.answer = misroute
    script = """
        def run(parameters, context):
            print("first")
            context.wait(2)
            return {"cancelled": context.cancelled}
    """
    bench.worker(script, heartbeat_seconds="0.2")
    job = bench.execute()
    assert bench.contract.finished(job) == ("completed", {"cancelled": False})
    assert bench.contract.lines(job) == [("INFO", "first")]
    assert {what for what, count in misrouted.items() if count > 3} == {"logs", "heartbeat", "finish"}


def test_a_refused_key_hands_the_job_back(bench: Bench) -> None:
    worker = bench.worker(GREETER, worker_key="stale").wait_ready()
    job = bench.execute(who="Ana")
    worker.says("Check MAESTRO_WORKER_KEY")
    bench.worker(GREETER)
    assert bench.contract.finished(job)[0] == "completed"


def test_the_worker_waits_for_api_broker_and_queue(
    broker: Broker, contract: Contract, tmp_path: Path
) -> None:
    bench = Bench(broker, contract, tmp_path)
    contract.down()
    wrong = replace(broker, amqp_port=1)
    unreachable = bench.worker(GREETER, amqp_url=wrong.amqp_url)
    worker = bench.worker(GREETER)
    try:
        unreachable.says("The broker is away")
        worker.says("can't be consumed yet: NOT_FOUND - no queue")
        assert not worker.ready.exists()
        bench.declare()
        worker.wait_ready()
        job = bench.execute(who="Ana")
        worker.says("The API does not take start (no connection)")
        contract.up()
        assert contract.finished(job)[0] == "completed"
    finally:
        for each in bench.workers:
            each.process.kill()
            each.process.wait()


def test_a_deleted_queue_is_consumed_again_once_it_is_back(bench: Bench) -> None:
    worker = bench.worker(GREETER).wait_ready()
    with bench.broker.connect() as connection:
        connection.channel().queue_delete(QUEUE)
    worker.says("The broker cancelled the consumer")
    eventually(lambda: not worker.ready.exists(), "not ready without its queue")
    bench.declare()
    assert bench.contract.finished(bench.execute(who="Ana"))[0] == "completed"


def test_a_broker_user_that_may_only_read_the_queue(bench: Bench) -> None:
    user = f"reader-{new_job()}"
    bench.broker.call("PUT", f"/users/{user}", {"password": "p", "tags": ""})
    only = {"configure": "^$", "write": "^$", "read": "^bots\\.invoices$"}
    bench.broker.call("PUT", f"/permissions/{bench.broker.vhost}/{user}", only)
    try:
        bench.worker(GREETER, amqp_url=replace(bench.broker, user=user, password="p").amqp_url)
        bench.publish(b"unreadable")
        assert bench.contract.finished(bench.execute(who="Ana"))[0] == "completed"
        assert eventually(lambda: bench.depth("maestro.dlq") == 1, "it may dead-letter too")
    finally:
        bench.broker.call("DELETE", f"/users/{user}")


def test_the_api_away_while_a_bot_runs_loses_no_line_and_no_result(bench: Bench) -> None:
    script = """
        import pathlib, time
        def run(parameters, context):
            for number in range(1500):
                print(number)
                if number == 500:
                    while not pathlib.Path(parameters["gate"]).exists():
                        time.sleep(0.02)
            return {"lines": 1500}
    """
    worker, gate = bench.worker(script).wait_ready(), bench.gate()
    job = bench.execute(gate=str(gate))
    bench.contract.wait_for(job, "logs")
    bench.contract.down()
    gate.touch()
    worker.says("The API does not take logs")
    bench.contract.up()
    assert bench.contract.finished(job) == ("completed", {"lines": 1500})
    assert [message for _, message in bench.contract.lines(job)] == [str(number) for number in range(1500)]


def test_repeated_calls_carry_the_same_token_and_numbers(bench: Bench) -> None:
    failed: dict[str, int] = {}

    def lose_the_first_two_answers(call: Call) -> Reply | None:
        bench.contract.calls.append(replace(call, what=f"lost {call.what}"))
        failed[call.what] = failed.get(call.what, 0) + 1
        return Reply(503, {"error": "away"}, {"Retry-After": "0"}) if failed[call.what] <= 2 else None

    bench.contract.answer = lose_the_first_two_answers
    bench.worker(GREETER)
    job = bench.execute(who="Ana")
    assert bench.contract.finished(job)[0] == "completed"
    assert len({call.token for call in bench.contract.of(job)}) == 1
    assert bench.contract.lines(job) == [("INFO", "hello Ana"), ("WARNING", "careful")]


def test_one_refused_line_does_not_take_the_others_along(bench: Bench) -> None:
    def refuse_the_bad_one(call: Call) -> Reply | None:
        bad = call.what == "logs" and any("bad" in line["message"] for line in call.body)
        return Reply(400, {"error": "bad line"}) if bad else None

    bench.contract.answer = refuse_the_bad_one
    worker = bench.worker("def run(p, c):\n    for n in range(100): print('bad' if n == 37 else n)")
    job = bench.execute()
    assert bench.contract.finished(job)[0] == "completed"
    taken = [line["seq"] for call in bench.contract.of(job, "logs") for line in call.body]
    assert taken == [number for number in range(1, 101) if number != 38]
    worker.says("1 log lines of the job were not taken")


def test_a_result_the_api_refuses_fails_the_job_saying_so(bench: Bench) -> None:
    def refuse_large(call: Call) -> Reply | None:
        large = call.what == "finish" and len(json.dumps(call.body)) > 10_000
        return Reply(413, {"error": "the body is larger than 10 kB"}) if large else None

    bench.contract.answer = refuse_large
    bench.worker("def run(p, c): return {'x': 'x' * 20_000}")
    status, result = bench.contract.finished(bench.execute())
    assert status == "failed"
    assert "413: the body is larger than 10 kB" in result["error"]


def test_a_cancellation_reaches_the_bot(bench: Bench) -> None:
    bench.worker(
        "def run(p, c):\n    print('running')\n    c.wait(60)\n    return {'stopped': c.cancelled}",
        heartbeat_seconds="0.2",
    )
    job = bench.execute()
    bench.contract.wait_for(job, "heartbeat")
    bench.contract.canceled.add(job)
    assert bench.contract.finished(job) == ("canceled", {"stopped": True})


def test_a_superseded_attempt_stops_and_reports_nothing(bench: Bench) -> None:
    superseded: set[str] = set()
    bench.contract.answer = lambda call: (
        Reply(409, {"error": "not current"}) if call.what != "start" and call.job_id in superseded else None
    )
    worker = bench.worker(
        "import time\ndef run(p, c):\n    print('running')\n    while not c.cancelled: time.sleep(0.05)",
        heartbeat_seconds="0.2",
    ).wait_ready()
    job = bench.execute()
    bench.contract.wait_for(job, "logs")
    superseded.add(job)
    worker.says("result dropped, the attempt is not the current one")
    assert not bench.contract.of(job, "finish")


def test_a_broker_restart_while_a_bot_runs(own_broker: Broker, contract: Contract, tmp_path: Path) -> None:
    bench = Bench(own_broker, contract, tmp_path)
    bench.declare()
    worker, gate = bench.worker(GATED).wait_ready(), bench.gate()
    try:
        job = bench.execute(gate=str(gate))
        contract.wait_for(job, "logs")
        own_broker.container.kill()
        worker.says("The broker is away")
        gate.touch()
        assert contract.finished(job) == ("completed", {"gate": "open"})
        own_broker.container.start()
        own_broker.wait()
        assert contract.finished(bench.execute(gate=str(gate)), 60)[0] == "completed"
        assert len(contract.of(job, "start")) == 1
    finally:
        worker.process.kill()
        worker.process.wait()
        print(worker.log)


def test_idle_and_told_to_stop_it_leaves_at_once(bench: Bench) -> None:
    worker = bench.worker(GREETER).wait_ready()
    started = time.monotonic()
    worker.terminate()
    assert worker.process.wait(5) == 0
    assert time.monotonic() - started < 1.5
    assert not worker.ready.exists()


def test_waiting_for_a_broker_and_told_to_stop_it_leaves_at_once(bench: Bench) -> None:
    worker = bench.worker(GREETER, amqp_url=replace(bench.broker, amqp_port=1).amqp_url)
    worker.says("The broker is away")
    worker.terminate()
    assert worker.process.wait(2) == 0


def test_told_to_stop_it_finishes_its_job_and_takes_no_other(bench: Bench) -> None:
    worker, gate = bench.worker(GATED).wait_ready(), bench.gate()
    job = bench.execute(gate=str(gate))
    bench.contract.wait_for(job, "logs")
    worker.terminate()
    worker.says("the running job is finished first")
    other = bench.execute(gate=str(gate))
    gate.touch()
    assert bench.contract.finished(job) == ("completed", {"gate": "open"})
    assert worker.process.wait(10) == 0
    assert not bench.contract.of(other)
    assert bench.depth() == 1


def test_told_twice_it_leaves_takes_the_bot_along_and_hands_the_job_back(bench: Bench) -> None:
    script = GATED.replace('print("running")', "import os; print(os.getpid())")
    worker = bench.worker(script).wait_ready()
    job = bench.execute(gate=str(bench.gate()))
    bot = int(bench.contract.wait_for(job, "logs").body[0]["message"])
    worker.terminate()
    worker.says("the running job is finished first")
    worker.terminate()
    assert worker.process.wait(5) == 0
    eventually(lambda: not alive(bot), "the bot is gone")
    assert bench.contract.of(job, "release")
    assert not bench.contract.of(job, "finish")


def test_a_bot_tells_how_far_it_has_come(bench: Bench) -> None:
    script = """
        def run(parameters, context):
            context.progress(0.25)
            context.progress(message="page 1 of 4")
            context.wait(60)
    """
    bench.worker(script, progress_seconds="0.1")
    job = bench.execute()
    first = bench.contract.wait_for(job, "heartbeat")  # at once, half a minute before the next is due
    told = {"progress": 0.25, "message": "page 1 of 4"}
    eventually(lambda: bench.contract.of(job, "heartbeat")[-1].body == told, "its progress is told")
    assert first.token == bench.contract.of(job, "start")[0].token
    bench.contract.canceled.add(job)


def test_told_to_stop_while_the_api_is_away_at_start_it_hands_the_job_back(bench: Bench) -> None:
    bench.contract.down()
    worker = bench.worker(GREETER).wait_ready()
    job = bench.execute(who="Ana")
    worker.says("The API does not take start")
    worker.terminate()
    assert worker.process.wait(15) == 0
    assert bench.depth() == 1
    bench.contract.up()
    bench.worker(GREETER)
    assert bench.contract.finished(job)[0] == "completed"


def test_a_killed_worker_takes_its_bot_along(bench: Bench) -> None:
    worker = bench.worker(GATED.replace('print("running")', "import os; print(os.getpid())")).wait_ready()
    job = bench.execute(gate=str(bench.gate()))
    bot = int(bench.contract.wait_for(job, "logs").body[0]["message"])
    worker.process.kill()
    worker.process.wait()
    eventually(lambda: not alive(bot), "the bot is gone")
