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
SEED = "20261123"
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


def find_out(described: str, directory: Path, *options: str) -> None:
    """Have schemathesis call what is described there; raises AssertionError with what it found."""
    command = [Path(sys.executable).with_name("schemathesis"), "--config-file", HERE / "schemathesis.toml"]
    # A live log ends with its job: that of a job that nobody ends would be waited for.
    run = ["run", described, "--exclude-path-regex", "/stream$", "--no-color", *options]
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(
        [*command, *run], cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.timeout(900)
def test_every_call_is_answered_as_described(own_stack: Stack, tmp_path: Path) -> None:
    """Whatever it is sent, alone and along the links: what fits its description and what does not."""
    before = answered(own_stack)
    described = f"{own_stack.service.root}/openapi.json"
    find_out(described, tmp_path, "--phases=examples,coverage,fuzzing", f"--seed={SEED}")
    # A chain ends those after it where the api's state lets it go on otherwise than the same before.
    for seed in range(3):
        find_out(described, tmp_path, "--phases=stateful", f"--seed={seed}")
    # It has been everywhere, and not only to be refused.
    seen = answered(own_stack) - before
    assert not [each for each in seen if each[2] >= "500"]
    succeeded = {(method, route) for method, route, status in seen if status.startswith("2")}
    paths = requests.get(described, timeout=10).json()["paths"]
    calls = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert {call for call in calls if not call[1].endswith("/stream")} <= succeeded
