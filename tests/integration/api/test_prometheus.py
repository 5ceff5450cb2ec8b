"""The api's metrics, at its root and on their own port."""

from collections.abc import Iterator
from uuid import UUID

import pytest
import requests
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from integration.api.service import ADMIN_TOKEN, WORKER_KEY, Service, eventually, serve
from integration.servers import Broker, free_port

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def scraped(service: Service) -> Samples:
    reply = requests.get(
        f"{service.root}/metrics", headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}, timeout=10
    )
    assert reply.status_code == 200
    assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return samples(reply.text)


def value(found: Samples, name: str, **labels: str) -> float:
    return found.get((name, frozenset(labels.items())), 0)


def test_the_root_asks_for_a_persons_token(service: Service) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"X-Worker-API-Key": WORKER_KEY}):
        assert requests.get(f"{service.root}/metrics", headers=headers, timeout=10).status_code == 401


def test_openmetrics_when_it_is_asked_for(service: Service) -> None:
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}", "Accept": "application/openmetrics-text"}
    reply = requests.get(f"{service.root}/metrics", headers=headers, timeout=10)
    assert reply.headers["Content-Type"].startswith("application/openmetrics-text")
    assert {family.name for family in parse_openmetrics(reply.text)} >= {"maestro_http_requests"}


def test_requests_by_route_and_the_wait_of_a_job(service: Service) -> None:
    before = scraped(service)
    jobs = [service.job() for _ in range(3)]
    for job in jobs:
        assert service.worker("POST", f"/{job}/start", token="t").status_code == 200
    service.worker("POST", f"/{jobs[0]}/start", token="t")  # again: no other start
    service.get(f"/jobs/{UUID(int=7)}")
    service.get("/no/such/path")

    def grown(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    after = scraped(service)
    requests_total = "maestro_http_requests_total"
    route = "/api/v1/automations/{id}/execute"
    assert grown(requests_total, method="POST", route=route, status="202") == 3
    assert grown("maestro_http_request_seconds_count", method="POST", route=route) == 3
    assert grown(requests_total, method="POST", route="/api/v1/worker/jobs/{id}/start", status="200") == 4
    assert grown(requests_total, method="GET", route="/api/v1/jobs/{id}", status="404") == 1
    assert grown(requests_total, method="GET", route="other", status="404") == 1
    assert grown("maestro_job_queue_to_start_seconds_count") == 3
    assert 0 < grown("maestro_job_queue_to_start_seconds_sum") < 60
    for lane, calls in (("accept", 3), ("start", 4)):
        assert grown("maestro_flush_rows_sum", lane=lane) == calls
        assert grown("maestro_flush_seconds_count", lane=lane) == grown("maestro_flush_rows_count", lane=lane)
    routes = {dict(labels).get("route", "") for _, labels in after}
    assert not [each for each in routes if jobs[0] in each or "such" in each]


def test_the_pool_and_the_publisher(service: Service) -> None:
    eventually(lambda: value(scraped(service), "maestro_publisher_connected") == 1)
    returned = value(scraped(service), "maestro_publish_returned_total")
    service.job()  # nobody has declared the queue
    eventually(lambda: value(scraped(service), "maestro_publish_returned_total") > returned)
    eventually(lambda: value(scraped(service), "maestro_publish_in_flight") == 0)
    found = scraped(service)
    assert value(found, "maestro_database_pool_limit") == service.settings.database_pool_size
    assert 1 <= value(found, "maestro_database_pool_size") <= service.settings.database_pool_size
    assert value(found, "process_resident_memory_bytes") > 1_000_000


def test_open_streams(service: Service) -> None:
    job = service.running()
    with service.get(f"/jobs/{job}/logs/stream", stream=True) as reply:
        assert reply.status_code == 200
        assert value(scraped(service), "maestro_streams") == 1
    eventually(lambda: value(scraped(service), "maestro_streams") == 0)


@pytest.fixture
def metrics_port(database_uri: str, broker: Broker) -> Iterator[int]:
    """Of an api that has one."""
    port = free_port()
    with serve(database_uri, broker.amqp_url, metrics_port=port):
        yield port


def test_the_port_of_its_own_asks_for_nothing_and_tells_no_secret(
    metrics_port: int, database_uri: str, broker: Broker
) -> None:
    reply = requests.get(f"http://127.0.0.1:{metrics_port}/metrics", timeout=10)
    assert value(samples(reply.text), "maestro_database_pool_limit") == 8
    for secret in (ADMIN_TOKEN, WORKER_KEY, database_uri, broker.amqp_url, "tests-only"):
        assert secret not in reply.text
