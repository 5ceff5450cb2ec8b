"""The client against an HTTP server of its own: what replies mean."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from kubernetes.client import Configuration

from maestro import metrics
from maestro.errors import BadInput, Conflict, Forbidden, KubernetesAway, NotFound, OwnedElsewhere
from maestro.kube import AUTOMATION, Kube

OBJECT = {
    "apiVersion": "rps-maestro.io/v1alpha1",
    "kind": "Automation",
    "metadata": {"namespace": "n", "name": "a"},
}


class Server:
    """Answers with the replies it was given, one by one, and keeps what was asked."""

    def __init__(self) -> None:
        self.replies: list[tuple[int, Any, dict[str, str]]] = []
        self.asked: list[tuple[str, str, str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                kind = self.headers.get("Content-Type") or ""
                outer.asked.append((self.command, self.path, kind, json.loads(body) if body else None))
                status, reply, headers = outer.replies.pop(0)
                content = reply.encode() if isinstance(reply, str) else json.dumps(reply).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_PATCH = do_POST = do_DELETE = answer  # noqa: N815

            def log_message(self, *_: object) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def will(self, status: int, reply: Any, **headers: str) -> None:
        self.replies.append((status, reply, headers))

    @property
    def kube(self) -> Kube:
        configuration = Configuration()
        configuration.host = f"http://127.0.0.1:{self.http.server_port}"
        return Kube(configuration)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def refusal(message: str, **more: Any) -> dict[str, Any]:
    return {"kind": "Status", "status": "Failure", "message": message, **more}


def test_an_absent_object_is_none(server: Server) -> None:
    server.will(404, refusal('automations "a" not found', details={"name": "a"}))
    assert server.kube.get(AUTOMATION, "n", "a") is None


def test_an_absent_kind_says_so(server: Server) -> None:
    server.will(404, "404 page not found")
    with pytest.raises(NotFound, match="CRDs"):
        server.kube.list(AUTOMATION, "n")
    server.will(404, "404 page not found")
    assert not server.kube.serves(AUTOMATION, "n")


def test_metrics_tell_each_request_and_its_answer(server: Server) -> None:
    def told(code: str) -> float:
        labels = {"verb": "GET", "code": code}
        registry = metrics.Registry(metrics.OPERATOR)
        return registry.get_sample_value("maestro_kubernetes_requests_total", labels) or 0

    before = [told(code) for code in ("200", "404", "429")]
    server.will(429, refusal("slow down"), **{"Retry-After": "0.01"})
    server.will(200, OBJECT)
    server.will(404, refusal('automations "a" not found', details={"name": "a"}))
    for _ in range(2):
        server.kube.get(AUTOMATION, "n", "a")
    assert [told(code) for code in ("200", "404", "429")] == [each + 1 for each in before]


def test_a_list_follows_its_pages(server: Server) -> None:
    server.will(200, {"metadata": {"continue": "more"}, "items": [{"metadata": {"name": "a"}}]})
    server.will(200, {"metadata": {}, "items": [{"metadata": {"name": "b"}}]})
    found = server.kube.list(AUTOMATION, "n", labels="x=y")
    assert [(each["kind"], each["metadata"]["name"]) for each in found] == [
        ("Automation", "a"),
        ("Automation", "b"),
    ]
    assert "continue=more" in server.asked[1][1]
    assert "labelSelector=x%3Dy" in server.asked[1][1]


def test_apply_is_server_side_and_strict(server: Server) -> None:
    server.will(200, OBJECT)
    server.kube.apply(OBJECT, manager="maestro-api")
    method, path, content_type, body = server.asked[0]
    assert (method, content_type, body) == ("PATCH", "application/apply-patch+yaml", OBJECT)
    assert "fieldManager=maestro-api" in path
    assert "force=false" in path


def test_another_manager_is_named(server: Server) -> None:
    cause = {
        "reason": "FieldManagerConflict",
        "message": 'conflict with "argocd" using rps-maestro.io/v1alpha1',
        "field": ".spec.description",
    }
    server.will(409, refusal("Apply failed", reason="Conflict", details={"causes": [cause]}))
    with pytest.raises(OwnedElsewhere, match=r'spec\.description: conflict with "argocd".*force=true'):
        server.kube.apply(OBJECT, manager="maestro-api")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, BadInput),
        (422, BadInput),
        (401, Forbidden),
        (403, Forbidden),
        (409, Conflict),
        (503, KubernetesAway),
    ],
)
def test_the_servers_own_sentence_is_kept(server: Server, status: int, error: type[Exception]) -> None:
    server.will(status, refusal("its own sentence"))
    with pytest.raises(error, match="its own sentence"):
        server.kube.create(OBJECT, manager="m")


def test_a_throttled_request_is_sent_again(server: Server) -> None:
    server.will(429, refusal("slow down"), **{"Retry-After": "0"})
    server.will(200, OBJECT)
    assert server.kube.get(AUTOMATION, "n", "a") == OBJECT


def test_delete_of_that_very_object(server: Server) -> None:
    server.will(200, {})
    assert server.kube.delete(AUTOMATION, "n", "a", uid="u1")
    assert server.asked[0][3]["preconditions"] == {"uid": "u1"}
    server.will(404, refusal("gone", details={"name": "a"}))
    assert not server.kube.delete(AUTOMATION, "n", "a")


def test_a_server_that_is_away(server: Server) -> None:
    kube = server.kube
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(KubernetesAway):
        kube.get(AUTOMATION, "n", "a")
