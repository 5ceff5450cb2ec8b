"""What the api does is what OpenAPI says it does, as schemathesis finds out."""

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from integration import servers
from integration.api.service import ADMIN_TOKEN
from integration.contract.stack import Stack, standing

HERE = Path(__file__).parent
CONFIG = HERE / "schemathesis.toml"
SEED = "20261123"
# A live log ends with its job: that of a job that nobody ends would be waited for.
STREAM = "/stream$"
SAMPLE = re.compile(r'maestro_http_requests_total\{method="(\w+)",route="([^"]+)",status="(\d+)"\} (\S+)')


@pytest.fixture
def own_stack(
    database_server: servers.Database, broker_server: servers.Broker, migrated_template: str
) -> Iterator[Stack]:
    """Apart from the other tests: what is made here is of every kind."""
    with standing(database_server, broker_server, migrated_template) as stack:
        yield stack


def answered(stack: Stack) -> Counter[tuple[str, str, str]]:
    """How often the api replied, by method, route and status."""
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    text = requests.get(f"{stack.service.root}/metrics", headers=headers, timeout=10).text
    return Counter(
        {(method, route, status): int(float(count)) for method, route, status, count in SAMPLE.findall(text)}
    )


@pytest.mark.timeout(900)
def test_every_call_is_answered_as_described(own_stack: Stack, tmp_path: Path) -> None:
    """Whatever it is sent: examples, edge cases, anything that fits its description and that does not."""
    before = answered(own_stack)
    command = [Path(sys.executable).with_name("schemathesis"), "--config-file", CONFIG]
    run = ["run", f"{own_stack.service.root}/openapi.json", "--phases", "examples,coverage,fuzzing"]
    options = ["--exclude-path-regex", STREAM, "--seed", SEED, "--no-color"]
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(
        [*command, *run, *options], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    seen = answered(own_stack) - before
    assert not [each for each in seen if each[2] >= "500"]
    assert {(method, route) for method, route, _ in seen} >= calls(own_stack)


def calls(stack: Stack) -> set[tuple[str, str]]:
    """Method and path of every call that is described, but for the stream."""
    paths = requests.get(f"{stack.service.root}/openapi.json", timeout=10).json()["paths"]
    found = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    return {(method, path) for method, path in found if not re.search(STREAM, path)}
