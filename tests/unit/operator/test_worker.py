"""The manifests of a worker."""

import base64
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from maestro.automation.model import RETRY_POLICY, Automation
from maestro.settings import Settings
from maestro_operator.worker import (
    INPUTS_HASH,
    SPEC_HASH,
    Access,
    amqp_url,
    labels,
    manifests,
    object_name,
    password_in,
)

ACCESS = Access("amqp://u:p@broker/v", "key")
SETTINGS = Settings(
    database_uri="postgresql://x",
    broker_uri="amqp://admin:secret@rabbit:5672/maestro",
    worker_broker_host="",
)  # type: ignore[call-arg,arg-type]


def resource(name: str = "bot", **worker: Any) -> dict[str, Any]:
    metadata = {"namespace": "bots", "name": name, "uid": "u1", "generation": 1}
    return {"metadata": metadata, "spec": {"worker": worker}}


def row(queue: str = "bots.bot") -> Automation:
    now = datetime.now(UTC)
    return Automation(
        id=1,
        namespace="bots",
        name="bot",
        uid="u1",
        generation=1,
        display_name="bot",
        description="",
        script_path="",
        queue=queue,
        queue_arguments=None,
        deletion_policy="Retain",
        parameter_schema=None,
        default_params=None,
        suspended=False,
        managed=True,
        priority=0,
        max_concurrency=None,
        start_deadline_seconds=None,
        timeout_seconds=None,
        heartbeat_timeout_seconds=300,
        retry_policy=RETRY_POLICY,
        paused_at=None,
        paused_reason=None,
        worker_state=None,
        created_at=now,
        updated_at=now,
        retired_at=None,
        cleared_at=None,
    )


def built(body: dict[str, Any], access: Access = ACCESS) -> dict[str, dict[str, Any]]:
    return {each["kind"]: each for each in manifests(body, row(), access, SETTINGS)}


def pod(body: dict[str, Any]) -> dict[str, Any]:
    return dict(built(body)["Deployment"]["spec"]["template"]["spec"])


def container(body: dict[str, Any]) -> dict[str, Any]:
    return dict(pod(body)["containers"][0])


def environment(body: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container(body)["env"]}


def test_a_script_runs_in_the_runner_image() -> None:
    body = resource(script="def run(p, c): ...")
    assert set(built(body)) == {"ServiceAccount", "Secret", "ConfigMap", "Deployment"}
    assert container(body)["image"] == SETTINGS.runner_image
    assert container(body)["command"] == ["maestro", "worker"]
    assert environment(body)["MAESTRO_SCRIPT"] == "/etc/maestro/script/bot.py"
    assert environment(body)["MAESTRO_QUEUE"] == "bots.bot"


def test_signs_of_life_fit_into_the_silence_that_counts_as_loss() -> None:
    assert "MAESTRO_HEARTBEAT_SECONDS" not in environment(resource(script="x"))
    impatient = replace(row(), heartbeat_timeout_seconds=10)
    *_, deployment = manifests(resource(script="x"), impatient, ACCESS, SETTINGS)
    [worker] = deployment["spec"]["template"]["spec"]["containers"]
    assert {"name": "MAESTRO_HEARTBEAT_SECONDS", "value": "3.3"} in worker["env"]


def test_an_own_image_runs_its_own_entrypoint() -> None:
    assert "command" not in container(resource(image="mine:1"))
    assert "readinessProbe" not in container(resource(image="mine:1"))
    assert container(resource(image="mine:1", command=["a"], args=["b"]))["command"] == ["a"]
    assert container(resource(image="mine:1", script="x"))["command"] == ["maestro", "worker"]
    assert "ConfigMap" not in built(resource(image="mine:1"))


def test_without_image_or_command_the_runner_runs_a_module() -> None:
    body = resource(env=[{"name": "MAESTRO_MODULE", "value": "bots.mine"}])
    assert container(body)["command"] == ["maestro", "worker"]
    assert "MAESTRO_SCRIPT" not in environment(body)


def test_pods_are_restricted() -> None:
    spec = pod(resource(image="mine:1"))
    assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert spec["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert spec["automountServiceAccountToken"] is False
    assert built(resource(image="mine:1"))["ServiceAccount"]["automountServiceAccountToken"] is False


def test_what_people_set_reaches_the_pod() -> None:
    body = resource(
        image="mine:1",
        env=[{"name": "HOME", "value": "/data"}, {"name": "X", "value": "$(MAESTRO_QUEUE)"}],
        envFrom=[{"secretRef": {"name": "s"}}],
        resources={"limits": {"cpu": "1"}},
        imagePullPolicy="Always",
        imagePullSecrets=[{"name": "pull"}],
        nodeSelector={"disk": "ssd"},
        tolerations=[{"operator": "Exists"}],
        podLabels={"team": "a", "app.kubernetes.io/component": "other"},
        podAnnotations={"note": "n"},
        runAsUser=1000,
        fsGroup=2000,
        readOnlyRootFilesystem=False,
        volumes=[{"name": "work", "emptyDir": {"medium": "Memory"}}],
        volumeMounts=[{"name": "work", "mountPath": "/tmp"}],
        replicas=3,
        terminationGracePeriodSeconds=5,
    )
    spec, main = pod(body), container(body)
    template = built(body)["Deployment"]["spec"]["template"]
    assert environment(body)["HOME"] == "/data"
    assert main["env"][-1] == {"name": "X", "value": "$(MAESTRO_QUEUE)"}
    assert (main["envFrom"], main["resources"]) == ([{"secretRef": {"name": "s"}}], {"limits": {"cpu": "1"}})
    assert (main["imagePullPolicy"], spec["imagePullSecrets"]) == ("Always", [{"name": "pull"}])
    assert (spec["nodeSelector"], spec["tolerations"]) == ({"disk": "ssd"}, [{"operator": "Exists"}])
    assert template["metadata"]["labels"]["team"] == "a"
    assert template["metadata"]["labels"]["app.kubernetes.io/component"] == "worker"
    assert template["metadata"]["annotations"]["note"] == "n"
    assert (spec["securityContext"]["runAsUser"], spec["securityContext"]["fsGroup"]) == (1000, 2000)
    assert main["securityContext"]["readOnlyRootFilesystem"] is False
    assert [each["mountPath"] for each in main["volumeMounts"]] == ["/home/worker", "/tmp"]
    assert built(body)["Deployment"]["spec"]["replicas"] == 3
    assert spec["terminationGracePeriodSeconds"] == 5


def test_everything_is_owned_so_that_it_goes_with_the_resource() -> None:
    for each in built(resource(script="x")).values():
        [owner] = each["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("Automation", "u1", True)
        assert "blockOwnerDeletion" not in owner  # would need a grant on finalizers


def test_building_twice_is_the_same_and_touches_nothing() -> None:
    body = resource(script="x", env=[{"name": "A", "value": "1"}], volumeMounts=[])
    before = deepcopy(body)
    assert built(body) == built(body)
    assert body == before


@pytest.mark.parametrize(
    ("body", "access"),
    [(resource(script="y"), ACCESS), (resource(script="x"), Access("amqp://u:p2@broker/v", "key"))],
)
def test_a_new_script_or_secret_rolls_the_pods(body: dict[str, Any], access: Access) -> None:
    def inputs(deployment: dict[str, Any]) -> Any:
        return deployment["spec"]["template"]["metadata"]["annotations"][INPUTS_HASH]

    before, after = built(resource(script="x"))["Deployment"], built(body, access)["Deployment"]
    assert inputs(before) != inputs(after)


def test_a_field_taken_out_changes_the_spec_hash() -> None:
    def spec_hash(**worker: Any) -> Any:
        return built(resource(image="a", **worker))["Deployment"]["metadata"]["annotations"][SPEC_HASH]

    assert spec_hash(nodeSelector={"a": "b"}) != spec_hash()


def test_long_names_are_shortened_and_stay_apart() -> None:
    long = [object_name("a" * 100 + end) for end in "xy"]
    assert len(set(long)) == 2
    assert all(len(name) <= 63 for name in long)
    assert all(len(value) <= 63 for value in labels("a" * 253).values())
    assert object_name("bot") == "bot-worker"


def test_the_broker_url_keeps_odd_characters_apart() -> None:
    url = amqp_url(SETTINGS, "worker./.a.b", "p@:/")
    assert url == "amqp://worker.%2F.a.b:p%40%3A%2F@rabbit:5672/maestro"
    secret = {"data": {"amqp-url": base64.b64encode(url.encode()).decode()}}
    assert password_in(secret) == "p@:/"


@pytest.mark.parametrize("secret", [None, {}, {"data": None}, {"data": {"amqp-url": "%%"}}])
def test_no_password_is_found_where_there_is_none(secret: dict[str, Any] | None) -> None:
    assert password_in(secret) is None
