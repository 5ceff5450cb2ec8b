"""The command line, against a small server of the standard library that answers as the API does."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from maestro import cli

JOB = "0192f0c1-2345-7890-abcd-0123456789ab"


class FakeApi:
    """One automation of each kind of name, one job that gives away its lines look by look."""

    def __init__(self) -> None:
        self.automations = [
            {
                "id": 1,
                "name": "NF-e summary",
                "resourceName": "nfe-summary",
                "namespace": "maestro-bots",
                "queueName": "q.nfe",
            },
            {
                "id": 2,
                "name": "twice",
                "resourceName": "twice-a",
                "namespace": "maestro-bots",
                "queueName": "q",
            },
            {"id": 3, "name": "twice", "resourceName": "twice-b", "namespace": "others", "queueName": "q"},
        ]
        self.executed: list[tuple[str, Any]] = []
        self.looks = 0
        self.fails_looks: tuple[int, ...] = ()
        self.ends = ("completed", {"rows": [{"month": "2018-08", "total": "1.00"}]})
        self.lines = [(1, "INFO", "first"), (2, "ERROR", "\x1b[2Jsecond\nthird")]

    def get(self, path: str) -> tuple[int, Any]:
        if path == "/automations":
            return 200, self.automations
        if path == f"/jobs/{JOB}":
            self.looks += 1
            if self.looks in self.fails_looks:
                return 503, {"error": "The database is away."}
            status, result = self.ends if self.looks >= 3 else ("running", None)
            return 200, {"id": JOB, "status": status, "result": result}
        after = int(path.partition("?after=")[2])
        return 200, [
            {"id": number, "timestamp": "2026-11-23T12:00:00+00:00", "level": level, "message": message}
            for number, level, message in self.lines
            if after < number <= self.looks
        ][:1]

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        if path == "/automations/2/execute":
            return 409, {"error": "The automation is suspended."}
        self.executed.append((path, body))
        return 202, {"id": JOB, "status": "pending"}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    fake = FakeApi()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(*fake.get(self.path.removeprefix("/api/v1")))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer(*fake.post(self.path.removeprefix("/api/v1"), body))

        def _answer(self, status: int, value: Any) -> None:
            if self.headers["Authorization"] != "Bearer good":
                status, value = 401, {"error": "no"}
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(value).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    monkeypatch.setenv("MAESTRO_API_URL", f"http://127.0.0.1:{server.server_port}/api/v1/")
    monkeypatch.setenv("MAESTRO_TOKEN", "good")
    monkeypatch.setattr(cli, "_POLL_SECONDS", 0.01)
    yield fake
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", ["NF-e summary", "nfe-summary", "maestro-bots/nfe-summary", "q.nfe", "1"])
def test_an_automation_goes_by_any_of_its_names(
    name: str, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["execute", name, "--parameters", '{"month": "2018-08"}']) == 0
    assert api.executed == [("/automations/1/execute", {"month": "2018-08"})]
    assert capsys.readouterr().out == f"{JOB}\n"


def test_parameters_from_a_file(api: FakeApi, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text('{"x": [1]}')
    assert cli.main(["execute", "1", "--parameters", f"@{tmp_path}/p.json"]) == 0
    assert api.executed[0][1] == {"x": [1]}


def test_follow_prints_each_line_once_then_the_result(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.fails_looks = (2,)
    assert cli.main(["execute", "1", "--follow"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"Job {JOB} of NF-e summary"
    assert [line[9:] for line in out[1:3]] == ["INFO     first", "ERROR    \\x1b[2Jsecond"]
    assert out[3] == "    third"
    assert out[4:] == ["Job completed", "", "rows", "  month    total", "  2018-08   1.00", ""]


@pytest.mark.parametrize(
    ("status", "code"), [("completed_no_invoices", 0), ("failed", 1), ("canceled", 1), ("completed", 0)]
)
def test_the_exit_code_tells_how_the_job_ended(status: str, code: int, api: FakeApi) -> None:
    api.ends = (status, {"error": "x"})
    assert cli.main(["execute", "1", "--follow"]) == code


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing"], "There is no automation 'nothing'"),
        (["twice"], "2 automations are called 'twice'; give the id of one: 2, 3."),
        (["twice-a"], "The automation is suspended."),
        (["1", "--parameters", "[1]"], "--parameters must be a JSON object"),
        (["1", "--parameters", "{"], "can't be read as JSON"),
        (["1", "--parameters", '{"x": NaN}'], "NaN is not JSON"),
        (["1", "--parameters", "@/nowhere.json"], "No such file"),
    ],
)
def test_what_is_refused_says_why(
    arguments: list[str], says: str, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["execute", *arguments]) == 2
    assert says in capsys.readouterr().err
    assert not api.executed


@pytest.mark.parametrize("token", ["", "bad"])
def test_a_missing_or_wrong_token_says_how_to_get_one(
    token: str, api: FakeApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAESTRO_TOKEN", token)
    assert cli.main(["execute", "1"]) == 2
    assert "make token" in capsys.readouterr().err


def test_nobody_there(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAESTRO_TOKEN", "good")
    monkeypatch.setenv("MAESTRO_API_URL", "http://127.0.0.1:1/api/v1")
    assert cli.main(["execute", "1"]) == 3
    assert "Nothing answers at http://127.0.0.1:1/api/v1" in capsys.readouterr().err


def test_waiting_for_an_automation_that_comes_later(api: FakeApi) -> None:
    late = {"id": 9, "name": "late", "resourceName": "late", "namespace": "n", "queueName": "q.late"}
    threading.Timer(0.3, api.automations.append, (late,)).start()
    assert cli.main(["execute", "late", "--wait-for-automation", "10"]) == 0
    assert api.executed[0][0] == "/automations/9/execute"


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("execute", "worker", "dispatcher", "migrate", "bootstrap"):
        with pytest.raises(SystemExit) as ended:
            cli.main([command, "--help"])
        assert ended.value.code == 0
        assert command in capsys.readouterr().out
