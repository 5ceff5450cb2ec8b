"""A bot in its own process: what it writes, how it ends."""

import os
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from maestro.worker.bot import Bot, Outcome
from maestro.worker.lines import CONTINUED, MAX_MESSAGE, Line
from maestro.worker.message import JobMessage
from maestro.worker.settings import WorkerSettings

JOB = "0192f0c1-2345-7890-abcd-0123456789ab"


class Gathered:
    """Lines, kept."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.room = True

    def put(self, line: Line) -> None:
        self.lines.append(line)

    def has_room(self) -> bool:
        return self.room

    @property
    def said(self) -> list[tuple[str, str]]:
        return [(line.level, line.message) for line in self.lines]

    @property
    def messages(self) -> list[str]:
        return [line.message for line in self.lines]


class Workshop:
    """Writes a bot's script and runs it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.lines = Gathered()

    def bot(self, script: str, parameters: dict[str, Any] | None = None, **settings: Any) -> Bot:
        path = self.directory / "bot.py"
        path.write_text(textwrap.dedent(script))
        fields = {"api_url": "http://unused", "worker_key": "k", "amqp_url": "amqp://unused", "queue": "q"}
        chosen = settings if "module" in settings else settings | {"script": path}
        message = JobMessage(JOB, 7, "path/of/script.py", parameters or {})
        return Bot(WorkerSettings.model_validate(fields | chosen), message, 2, self.lines)

    def run(self, script: str, parameters: dict[str, Any] | None = None, **settings: Any) -> Outcome:
        return self.bot(script, parameters, **settings).run()

    def failure(self, script: str) -> dict[str, Any]:
        outcome = self.run(script)
        assert outcome.status == "failed"
        assert outcome.result
        return outcome.result


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def test_parameters_in_result_out(workshop: Workshop) -> None:
    outcome = workshop.run(
        """
        def run(parameters, context):
            return {"sum": sum(parameters["numbers"]), "job": context.job_id, "attempt": context.attempt,
                    "automation": context.automation_id, "path": context.script_path,
                    "same": context.parameters is parameters}
        """,
        {"numbers": [1, 2], "big": "x" * 300_000},
    )
    assert outcome == Outcome(
        "completed",
        {"sum": 3, "job": JOB, "attempt": 2, "automation": 7, "path": "path/of/script.py", "same": True},
    )


def test_an_async_bot(workshop: Workshop) -> None:
    outcome = workshop.run(
        """
        import asyncio
        async def run(parameters, context):
            await asyncio.sleep(0.01)
            print("awaited")
        """
    )
    assert outcome == Outcome("completed", None)
    assert workshop.lines.said == [("INFO", "awaited")]


def test_no_data(workshop: Workshop) -> None:
    outcome = workshop.run(
        "def run(parameters, context):\n    return context.no_data({'summary': {'ok': 0}})"
    )
    assert outcome == Outcome("completed_no_invoices", {"summary": {"ok": 0}})


def test_print_and_logging_keep_their_order_and_levels(workshop: Workshop) -> None:
    workshop.run(
        """
        import logging, sys
        def run(parameters, context):
            for number in range(50):
                print("out", number)
                context.log.warning("log %d", number)
                print("err", number, file=sys.stderr)
            logging.getLogger("lib").error("e")
            logging.critical("c")
            logging.getLogger("lib").debug("below the level")
            sys.stdout.buffer.write(b"bytes\\n")
            print("no newline", end="")
        """
    )
    expected = [
        line
        for number in range(50)
        for line in (("INFO", f"out {number}"), ("WARNING", f"log {number}"), ("WARNING", f"err {number}"))
    ]
    assert workshop.lines.said == [
        *expected,
        ("ERROR", "e"),
        ("CRITICAL", "c"),
        ("INFO", "bytes"),
        ("INFO", "no newline"),
    ]


def test_debug_lines_when_asked(workshop: Workshop) -> None:
    workshop.run("def run(parameters, context):\n    context.log.debug('detail')", log_level="DEBUG")
    assert ("DEBUG", "detail") in workshop.lines.said


def test_a_record_with_its_traceback_is_one_line(workshop: Workshop) -> None:
    workshop.run(
        """
        def run(parameters, context):
            try:
                1 / 0
            except ZeroDivisionError:
                context.log.exception("it did not work", extra={"actionable": True})
        """
    )
    (line,) = workshop.lines.lines
    assert line.level == "ERROR"
    assert line.actionable
    assert line.message.startswith("it did not work\nTraceback")
    assert line.message.endswith("ZeroDivisionError: division by zero")


def test_output_of_programs_the_bot_starts_and_of_forks(workshop: Workshop) -> None:
    workshop.run(
        """
        import multiprocessing, os, subprocess, sys
        def work(number):
            print("fork", number)
            return number
        def run(parameters, context):
            subprocess.run(["sh", "-c", "echo program; echo grumble >&2"])
            subprocess.run(["echo", "through sys.stdout"], stdout=sys.stdout)
            os.write(1, b"descriptor one\\n")
            with multiprocessing.get_context("fork").Pool(3) as pool:
                return {"sum": sum(pool.map(work, range(30), 1))}
        """
    )
    said = workshop.lines.said
    assert {
        ("INFO", "program"),
        ("WARNING", "grumble"),
        ("INFO", "through sys.stdout"),
        ("INFO", "descriptor one"),
    } < set(said)
    assert sorted(line for line in said if "fork" in line[1]) == sorted(
        ("INFO", f"fork {n}") for n in range(30)
    )


def test_a_hundred_thousand_lines_in_order(workshop: Workshop) -> None:
    outcome = workshop.run("def run(parameters, context):\n    for n in range(100_000): print(n)")
    assert outcome.status == "completed"
    assert workshop.lines.messages == [str(number) for number in range(100_000)]


def test_awkward_output(workshop: Workshop) -> None:
    workshop.run(
        """
        import sys
        def run(parameters, context):
            print("nul \\0 here")
            sys.stdout.buffer.write("não\\n".encode("latin-1"))
            print("lone \\ud800")
            context.log.info("lone \\ud800 nul \\0")
            context.log.info("x" * 70_000)
            context.log.info("bad %d", "number")
            return {"nul": "\\0", "lone": "\\ud800"}
        """
    )
    messages = workshop.lines.messages
    assert messages[:4] == ["nul \u2400 here", "n\\xe3o", "lone \\ud800", "lone \ufffd nul \u2400"]
    assert [len(message) for message in messages[4:7]][:2] == [MAX_MESSAGE, MAX_MESSAGE]
    assert "".join(m.removeprefix(CONTINUED) for m in messages[4:7]) == "x" * 70_000
    assert any("--- Logging error ---" in message for message in messages[7:])


def test_an_exception_with_its_class_and_the_bots_own_traceback(workshop: Workshop) -> None:
    result = workshop.failure(
        """
        from maestro.worker import BotError
        def run(parameters, context):
            print("before")
            login()
        def login():
            raise BotError("the certificate has expired", error_class="CREDENTIAL_INVALID")
        """
    )
    assert result["error"] == "the certificate has expired"
    assert (result["error_type"], result["error_class"]) == ("BotError", "CREDENTIAL_INVALID")
    assert "in login" in result["traceback"]
    assert "maestro/worker/child.py" not in result["traceback"]
    assert [level for level, _ in workshop.lines.said] == ["INFO", "ERROR"]
    assert "in login" in workshop.lines.messages[1]


def test_any_exception_may_name_its_class(workshop: Workshop) -> None:
    result = workshop.failure(
        """
        class Blocked(Exception):
            error_class = "IP_BLOCKED"
        def run(parameters, context):
            raise Blocked()
        """
    )
    assert (result["error"], result["error_class"]) == ("Blocked", "IP_BLOCKED")


@pytest.mark.parametrize(
    ("script", "kind", "says"),
    [
        (
            "def run(parameters, context): return [1]",
            "UnusableBotError",
            "must return a dict or None, not list",
        ),
        (
            "from decimal import Decimal\ndef run(p, c): return {'a': [{'total': Decimal('1.5')}]}",
            "UnusableBotError",
            r"result['a'][0]['total'] is Decimal('1.5') (Decimal)",
        ),
        ("def run(p, c): return {'x': float('nan')}", "UnusableBotError", "result['x'] is nan (float)"),
        ("def run(p, c):\n d = {}; d['d'] = d; return d", "UnusableBotError", "contains itself"),
        ("def run(p, c): return {(1, 2): 3}", "UnusableBotError", "keys must be str"),
        ("def run(p, c) return 1", "SyntaxError", "expected ':' (bot.py, line 1)"),
        ("import nothing_like_it", "ModuleNotFoundError", "No module named 'nothing_like_it'"),
        ("x = 1", "UnusableBotError", "has no function `run`"),
        ("def run(): pass", "TypeError", "takes 0 positional arguments"),
        ("import sys\ndef run(p, c): sys.exit(3)", "UnusableBotError", "sys.exit(3)"),
        ("import os\ndef run(p, c): os._exit(5)", "BotDied", "exit code 5 before its run() returned"),
        (
            "import os\ndef run(p, c): os.kill(os.getpid(), 9)",
            "BotDied",
            "SIGKILL. Most often that is the memory limit",
        ),
        ("import ctypes\ndef run(p, c): ctypes.string_at(0)", "BotDied", "killed by signal SIGSEGV"),
        ("def run(p, c): run(p, c)", "RecursionError", "maximum recursion depth"),
        ("def run(p, c): raise KeyboardInterrupt", "KeyboardInterrupt", "KeyboardInterrupt"),
    ],
)
def test_what_goes_wrong_is_said_in_a_sentence(workshop: Workshop, script: str, kind: str, says: str) -> None:
    result = workshop.failure(script)
    assert (result["error_type"], result["error_class"]) == (kind, "UNKNOWN")
    assert says in result["error"]


def test_a_crash_leaves_the_interpreters_traceback_in_the_log(workshop: Workshop) -> None:
    workshop.failure("import ctypes\ndef run(p, c): ctypes.string_at(0)")
    assert any("Segmentation fault" in message for message in workshop.lines.messages)


def test_a_script_that_does_not_exist(workshop: Workshop) -> None:
    outcome = workshop.run("", module="surely.not.there")
    assert outcome.result
    assert "No module named 'surely'" in outcome.result["error"]
    bot = workshop.bot("")
    (workshop.directory / "bot.py").unlink()
    gone = bot.run()
    assert gone.result
    assert "bot.py does not exist" in gone.result["error"]


def test_a_module_from_the_working_directory(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    (workshop.directory / "mybot.py").write_text("def run(parameters, context): return {'from': __name__}")
    monkeypatch.chdir(workshop.directory)
    assert workshop.run("", module="mybot").result == {"from": "mybot"}


def test_sys_exit_zero_is_an_end_without_result(workshop: Workshop) -> None:
    assert workshop.run("import sys\ndef run(p, c): sys.exit()") == Outcome("completed", None)


def test_the_bot_does_not_see_the_workers_credentials(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAESTRO_WORKER_KEY", "secret")
    monkeypatch.setenv("MAESTRO_AMQP_URL", "secret")
    monkeypatch.setenv("PORTAL_PASSWORD", "the bot's own")
    script = """
        import os
        def run(parameters, context):
            return {k: v for k, v in os.environ.items() if v == "secret" or k == "PORTAL_PASSWORD"}
    """
    outcome = workshop.run(script)
    assert outcome.result == {"PORTAL_PASSWORD": "the bot's own"}


def test_what_the_bot_leaves_running_ends_with_it(workshop: Workshop) -> None:
    started = time.monotonic()
    outcome = workshop.run(
        """
        import subprocess
        def run(parameters, context):
            return {"pid": subprocess.Popen(["sleep", "60"]).pid}
        """
    )
    assert time.monotonic() - started < 5
    assert outcome.result
    for _ in range(100):
        if not _alive(outcome.result["pid"]):
            return
        time.sleep(0.02)
    pytest.fail("the sleep goes on")


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0]
    except FileNotFoundError:
        return False


def test_a_thread_left_behind_does_not_hold_the_worker(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maestro.worker.bot._AFTER_OUTCOME", 0.5)
    started = time.monotonic()
    outcome = workshop.run(
        """
        import threading, time
        def run(parameters, context):
            threading.Thread(target=time.sleep, args=(60,)).start()
            return {"done": True}
        """
    )
    assert outcome == Outcome("completed", {"done": True})
    assert time.monotonic() - started < 5


def test_without_room_the_bot_waits_and_nothing_is_lost(workshop: Workshop) -> None:
    workshop.lines.room = False

    def make_room() -> None:
        workshop.lines.room = True

    threading.Timer(3.0, make_room).start()
    outcome = workshop.run("def run(p, c):\n    for n in range(200): print(n, 'x' * 100)")
    assert outcome.status == "completed"
    assert len(workshop.lines.lines) == 200


def cancel_when(bot: Bot, lines: Gathered, message: str) -> None:
    def watch() -> None:
        while message not in lines.messages:
            time.sleep(0.01)
        bot.cancel()

    threading.Thread(target=watch, daemon=True).start()


def test_a_bot_that_heeds_the_cancellation(workshop: Workshop) -> None:
    bot = workshop.bot(
        """
        def run(parameters, context):
            assert not context.cancelled
            print("ready")
            context.wait(30)
            return {"heeded": context.cancelled}
        """
    )
    cancel_when(bot, workshop.lines, "ready")
    assert bot.run() == Outcome("canceled", {"heeded": True})


def test_nothing_fetched_since_it_was_canceled_is_canceled_too(workshop: Workshop) -> None:
    bot = workshop.bot(
        """
        def run(parameters, context):
            print("ready")
            context.wait(30)
            return context.no_data({"ok": 0})
        """
    )
    cancel_when(bot, workshop.lines, "ready")
    assert bot.run() == Outcome("canceled", {"ok": 0})


def test_work_done_before_the_bot_looked_is_completed(workshop: Workshop) -> None:
    bot = workshop.bot(
        """
        import time
        def run(parameters, context):
            print("ready")
            time.sleep(1)
            return {"all": "done"}
        """
    )
    cancel_when(bot, workshop.lines, "ready")
    assert bot.run() == Outcome("completed", {"all": "done"})


def test_a_deaf_bot_is_terminated_and_may_clean_up(workshop: Workshop) -> None:
    bot = workshop.bot(
        """
        import time
        def run(parameters, context):
            try:
                print("ready")
                time.sleep(60)
            finally:
                print("browser closed")
        """,
        cancellation_grace_seconds=0.3,
    )
    cancel_when(bot, workshop.lines, "ready")
    outcome = bot.run()
    assert outcome.status == "canceled"
    assert workshop.lines.messages[-1] == "browser closed"
    assert "terminated" in workshop.lines.messages[-2]


def test_a_stubborn_bot_is_killed(workshop: Workshop) -> None:
    bot = workshop.bot(
        """
        import signal, time
        def run(parameters, context):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            print("ready")
            time.sleep(60)
        """,
        cancellation_grace_seconds=0.2,
        termination_seconds=0.2,
    )
    cancel_when(bot, workshop.lines, "ready")
    outcome = bot.run()
    assert outcome.status == "canceled"
    assert outcome.result
    assert "killed" in outcome.result["error"]


def test_no_descriptor_is_left_open(workshop: Workshop) -> None:
    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))

    workshop.run("def run(p, c): pass")
    before = opened()
    for _ in range(3):
        workshop.run("def run(p, c): print(1)")
    assert opened() == before
