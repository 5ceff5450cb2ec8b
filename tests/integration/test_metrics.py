"""The port that a process shows its metrics on."""

import socket
import time

import pytest
import requests

from integration.servers import free_port
from maestro import metrics
from maestro.errors import BadInput
from maestro.metrics import Registry, served


def scrape(port: int) -> str:
    reply = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10)
    assert reply.status_code == 200
    return reply.text


def test_the_port_answers_while_the_block_lasts() -> None:
    port = free_port()
    for depth in (3, 4):  # one after the other, on the same port
        with served(Registry(metrics.OPERATOR, lambda: metrics.WORKQUEUE_DEPTH.set(depth)), port):  # noqa: B023
            assert f"maestro_workqueue_depth {depth}" in scrape(port)
        with pytest.raises(requests.ConnectionError):
            scrape(port)


def test_without_a_port_nothing_is_served() -> None:
    with served(Registry(metrics.WORKER), 0):
        pass


def test_a_port_that_is_taken_is_named() -> None:
    port = free_port()
    with (
        served(Registry(metrics.WORKER), port),
        pytest.raises(BadInput, match=f"MAESTRO_METRICS_PORT: port {port} can't be served"),
        served(Registry(metrics.WORKER), port),
    ):
        pass


def test_a_client_that_hangs_holds_up_neither_the_next_for_long_nor_the_end() -> None:
    port = free_port()
    with served(Registry(metrics.WORKER), port):
        with socket.create_connection(("127.0.0.1", port)):
            assert "maestro_worker_busy" in scrape(port)
        hanging = socket.create_connection(("127.0.0.1", port))
        time.sleep(0.1)  # the server waits for its request by now
        ended = time.monotonic()
    assert time.monotonic() - ended < 4
    hanging.close()
