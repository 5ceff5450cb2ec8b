"""What the api does is what OpenAPI says it does, as schemathesis finds out."""

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import requests
import schemathesis
from schemathesis.generation.stateful.state_machine import APIStateMachine

from integration import servers
from integration.api.service import ADMIN_TOKEN
from integration.contract.stack import Stack, standing

HERE = Path(__file__).parent
CONFIG = HERE / "schemathesis.toml"
SEED = "20261123"
# A live log ends with its job: that of a job that nobody ends would be waited for.
STREAM = "/stream$"
CHAINS = hypothesis.settings(
    max_examples=25,
    stateful_step_count=50,
    derandomize=True,
    deadline=None,
    phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)
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


@pytest.mark.timeout(900)
def test_calls_along_the_links_are_answered_as_described(own_stack: Stack) -> None:
    """From a new automation to the ends of its jobs, in every order that the links allow."""
    before = answered(own_stack)
    config = schemathesis.Config.from_path(CONFIG)
    described = f"{own_stack.service.root}/openapi.json"
    machine = schemathesis.openapi.from_url(described, config=config).exclude(path_regex=STREAM)
    chains = chains_of(machine.as_state_machine())
    chains.run(settings=CHAINS)
    seen = answered(own_stack) - before
    assert not [each for each in seen if each[2] >= "500"]
    succeeded = {(method, route) for method, route, status in seen if status.startswith("2")}
    with_id = {call for call in calls(own_stack) if "{id}" in call[1]}
    assert with_id <= succeeded


def calls(stack: Stack) -> set[tuple[str, str]]:
    """Method and path of every call that is described, but for the stream."""
    paths = requests.get(f"{stack.service.root}/openapi.json", timeout=10).json()["paths"]
    found = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    return {(method, path) for method, path in found if not re.search(STREAM, path)}


def chains_of(machine: type[APIStateMachine]) -> type[APIStateMachine]:
    """A machine that begins with new automations: no call with an id of nothing leads anywhere."""
    for rule in machine.root_rules:
        if "id" in rule:
            delattr(machine, rule)

    class Chains(machine):  # type: ignore[misc, valid-type]
        def setup(self) -> None:
            self.made: list[int] = []

        def after_call(self, response: schemathesis.Response, case: schemathesis.Case) -> None:
            if case.operation.label == "POST /api/v1/automations" and response.status_code == 201:
                self.made.append(response.json()["id"])

        def before_call(self, case: schemathesis.Case) -> None:
            # No link reaches into a body.
            if case.operation.label == "POST /api/v1/schedules" and self.made:
                case.body |= {"automationId": self.made[-1], "cronExpression": "0 8 * * 1-5"}

    return Chains
