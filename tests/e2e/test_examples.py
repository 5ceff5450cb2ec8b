"""The examples as their READMEs have them; test_main_job has 01."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import CONTEXT, DEFINITIONS, Api, Kubectl, eventually

ROOT = Path(__file__).parents[2]
KEY = "35180834128745000152550010000474281920007498"


def named(api: Api, resource: str) -> dict[str, Any]:
    return eventually(
        lambda: next(
            (each for each in api.get("/automations").json() if each["resourceName"] == resource), None
        ),
        f"the automation {resource} is registered",
    )


@pytest.fixture
def applied() -> Iterator[Any]:
    """kubectl apply of an example, undone at the end."""
    kubectl, files = Kubectl(DEFINITIONS), []

    def apply(file: str) -> None:
        files.append(file)
        kubectl("apply", "-f", str(ROOT / "examples" / file))

    yield apply
    for file in files:
        kubectl("delete", "--ignore-not-found", "-f", str(ROOT / "examples" / file))


def test_02_runs_the_first_example_each_minute(api: Api, applied: Any, nfe_summary: int) -> None:
    automation = nfe_summary
    before = {job["id"] for job in api.get(f"/jobs?automation_id={automation}").json()["items"]}
    applied("02-schedule/schedule.yaml")

    def scheduled() -> dict[str, Any] | None:
        jobs = api.get(f"/jobs?automation_id={automation}").json()["items"]
        return next((job for job in jobs if job["id"] not in before and job["scheduleId"]), None)

    job = api.wait_ended(eventually(scheduled, "a minute passes and a job comes", 75)["id"])
    assert job["status"] == "completed"
    assert job["parameters"]["month"] == "2018-08"
    assert {row["month"] for row in job["result"]["totals"]} == {"2018-08"}


def test_03_runs_a_bot_in_its_own_image(api: Api, applied: Any) -> None:
    folder = ROOT / "examples" / "03-own-image"
    buildx = subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False).returncode == 0
    environment = os.environ | ({} if buildx else {"DOCKER_BUILDKIT": "0"})
    build = ["docker", "build", "--quiet", "--tag", "nfe-keys:1", str(folder)]
    subprocess.run(build, check=True, env=environment, capture_output=True)
    load = ["kind", "load", "docker-image", "--name", CONTEXT.removeprefix("kind-"), "nfe-keys:1"]
    subprocess.run(load, check=True, capture_output=True)
    applied("03-own-image/automation.yaml")
    automation = named(api, "nfe-keys")["id"]
    Kubectl(DEFINITIONS).wait_ready("automation", "nfe-keys")
    reply = api.post(f"/automations/{automation}/execute", {"keys": [KEY, "nonsense"]})
    assert reply.status_code == 202, reply.text
    result = api.wait_ended(reply.json()["id"])["result"]
    assert [each["issuer"] for each in result["valid"]] == ["34128745000152"]
    assert [each["key"] for each in result["summary"]["failed"]] == ["nonsense"]
