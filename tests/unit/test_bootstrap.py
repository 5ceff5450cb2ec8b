"""The Secrets of a release: made when missing, never touched when there, never printed."""

import base64
import logging
from collections.abc import Mapping
from typing import Any, cast

import pytest

from maestro import bootstrap
from maestro.bootstrap import Release
from maestro.errors import BadInput, Conflict, KubernetesAway
from maestro.kube import Kind, Kube
from maestro.settings import Settings


class Cluster:
    """The two calls that bootstrap makes, over a dictionary."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.made: list[str] = []

    def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        return self.objects.get((kind.kind, namespace, name))

    def create(self, resource: Mapping[str, Any], *, manager: str) -> Mapping[str, Any]:
        assert manager == "maestro-bootstrap"
        metadata = resource["metadata"]
        key = (resource["kind"], metadata["namespace"], metadata["name"])
        if key in self.objects:
            raise Conflict
        self.objects[key] = dict(resource)
        self.made.append(metadata["name"])
        return resource

    def secret(self, name: str) -> dict[str, str]:
        data = self.objects["Secret", "robots", name]["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def holds_volume(self, name: str) -> None:
        self.objects["PersistentVolumeClaim", "robots", name] = {}


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def release(**others: Any) -> Release:
    return Release(release_name="acme", release_namespace="robots", **others)


def run(cluster: Cluster, **others: Any) -> None:
    bootstrap.bootstrap(cast("Kube", cluster), release(**others))


def test_makes_all_three(cluster: Cluster) -> None:
    run(cluster)
    assert cluster.made == ["acme-database", "acme-broker", "acme-auth"]


def test_what_it_makes_is_what_the_processes_read(cluster: Cluster) -> None:
    run(cluster)
    database, broker = cluster.secret("acme-database"), cluster.secret("acme-broker")
    settings = Settings.model_validate({"database_uri": database["uri"], "broker_uri": broker["uri"]})
    assert settings.vhost == broker["vhost"] == "acme"
    assert database["uri"].endswith("@acme-postgresql.robots.svc:5432/maestro")
    assert settings.management_uri == broker["management-uri"]


def test_passwords_differ_and_are_long(cluster: Cluster) -> None:
    run(cluster)
    found = [
        cluster.secret("acme-database")["password"],
        cluster.secret("acme-broker")["password"],
        cluster.secret("acme-broker")["erlang-cookie"],
        *cluster.secret("acme-auth").values(),
    ]
    assert len(set(found)) == 5
    assert all(len(each) >= 40 for each in found)


def test_leaves_alone_what_exists(cluster: Cluster) -> None:
    run(cluster)
    before = dict(cluster.objects)
    run(cluster)
    assert cluster.objects == before


def test_makes_only_what_it_is_asked_for(cluster: Cluster) -> None:
    run(cluster, bootstrap_secrets="auth")
    assert cluster.made == ["acme-auth"]


def test_a_secret_that_lacks_a_key_is_named_with_what_it_lacks(cluster: Cluster) -> None:
    run(cluster)
    data = cluster.objects["Secret", "robots", "acme-auth"]["data"]
    del data["worker-key"]
    data["admin-token"] = ""
    with pytest.raises(BadInput, match="acme-auth in namespace robots lacks admin-token, worker-key"):
        run(cluster)


def test_a_volume_whose_secret_is_lost_gets_no_new_password(cluster: Cluster) -> None:
    cluster.holds_volume("data-acme-postgresql-0")
    with pytest.raises(BadInput, match=r"Restore Secret acme-database.*delete pvc data-acme-postgresql-0"):
        run(cluster)
    assert cluster.made == []


def test_volumes_are_not_looked_at_where_they_may_come_first(cluster: Cluster) -> None:
    cluster.holds_volume("data-acme-postgresql-0")
    run(cluster, bootstrap_check_volumes=False)
    assert "acme-database" in cluster.made


def test_two_at_once_agree(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    run(cluster)
    before = dict(cluster.objects)
    get = cluster.get
    answers = iter([None])  # the first look comes a moment too early

    def late(kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        return next(answers, get(kind, namespace, name))

    monkeypatch.setattr(cluster, "get", late)
    run(cluster, bootstrap_secrets="auth")
    assert cluster.objects == before


def test_says_nothing_secret(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    run(cluster)
    run(cluster)
    said = caplog.text
    assert "Secret acme-auth made" in said
    for name in cluster.made:
        for key, value in cluster.secret(name).items():
            if key not in ("username", "database", "vhost"):
                assert value not in said


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("MAESTRO_RELEASE_NAME", "acme")
    monkeypatch.setenv("MAESTRO_RELEASE_NAMESPACE", "robots")
    return monkeypatch


def test_the_process_succeeds(environment: pytest.MonkeyPatch, cluster: Cluster) -> None:
    environment.setattr(Kube, "connect", lambda: cluster)
    assert bootstrap.main() == 0
    assert len(cluster.made) == 3


def test_the_process_says_which_setting_is_missing(
    environment: pytest.MonkeyPatch, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    environment.setattr(Kube, "connect", lambda: cluster)
    environment.delenv("MAESTRO_RELEASE_NAME")
    assert bootstrap.main() == 2
    assert "MAESTRO_RELEASE_NAME" in caplog.text


def test_the_process_says_which_secret_it_does_not_know(
    environment: pytest.MonkeyPatch, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    environment.setattr(Kube, "connect", lambda: cluster)
    environment.setenv("MAESTRO_BOOTSTRAP_SECRETS", "auth,certificate")
    assert bootstrap.main() == 2
    assert "certificate" in caplog.text


def test_the_process_may_be_tried_again_when_the_cluster_is_away(
    environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away() -> Kube:
        raise KubernetesAway("The Kubernetes API server can't be reached: timed out")

    environment.setattr(Kube, "connect", away)
    assert bootstrap.main() == 1
    assert "can't be reached" in caplog.text


def test_the_process_is_not_tried_again_when_somebody_must_act(
    environment: pytest.MonkeyPatch, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.holds_volume("data-acme-rabbitmq-0")
    environment.setattr(Kube, "connect", lambda: cluster)
    assert bootstrap.main() == 2
    assert "acme-broker is missing" in caplog.text
