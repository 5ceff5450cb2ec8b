"""The installed chart: its own test, an upgrade, what its accounts may do, and the files rendered from it."""

import base64
import json
import shutil
from pathlib import Path

import pytest
import yaml

from e2e._chart import CHART, ROOT, helm, helm_test, kubectl_in_any_namespace
from e2e.cluster import DEFINITIONS, NAMESPACE, RELEASE, Kubectl

SAMPLES = sorted((ROOT / "manifests" / "samples").glob("*.yaml"))


def pod_ids(release: Kubectl) -> set[str]:
    return {
        pod["metadata"]["uid"] for pod in release.list("pods", "--selector=app.kubernetes.io/name=maestro")
    }


def test_helm_test_executes_a_job_twice_and_leaves_nothing(kubectl: Kubectl, release: Kubectl) -> None:
    for _ in range(2):
        said = helm_test()
        assert "Succeeded" in said
        assert "hello, helm" in said
        definitions = Kubectl(DEFINITIONS)
        assert definitions.run("get", "automations.rps-maestro.io", f"{RELEASE}-test").returncode != 0
        assert release.run("get", "pod", f"{RELEASE}-test").returncode != 0


def test_an_upgrade_that_changes_nothing_restarts_nothing(release: Kubectl) -> None:
    before = pod_ids(release)
    helm("upgrade", RELEASE, str(CHART), "--reuse-values", "--wait", "--timeout=120s")
    assert pod_ids(release) == before
    assert release.list("jobs") == []
    assert release.run("get", "serviceaccount", f"{RELEASE}-bootstrap").returncode != 0


def test_definitions_are_upgraded_with_the_chart_and_stay_adopted(
    kubectl: Kubectl, release: Kubectl, tmp_path: Path
) -> None:
    crd = "schedules.rps-maestro.io"
    newer = tmp_path / "maestro"
    shutil.copytree(CHART, newer)
    file = newer / "files" / "crds" / f"{crd}.yaml"
    definition = yaml.safe_load(file.read_text())
    column = {"name": "Newer", "type": "string", "jsonPath": ".spec.cron"}
    definition["spec"]["versions"][0]["additionalPrinterColumns"].append(column)
    file.write_text(yaml.safe_dump(definition))

    before = pod_ids(release)
    for chart, expected in ((newer, True), (CHART, False)):
        helm("upgrade", RELEASE, str(chart), "--reuse-values", "--wait", "--timeout=120s")
        columns = kubectl.get("crd", crd)["spec"]["versions"][0]["additionalPrinterColumns"]
        assert (column in columns) is expected
    assert pod_ids(release) == before


def test_no_pod_of_the_release_breaks_the_restricted_level(release: Kubectl) -> None:
    label = "pod-security.kubernetes.io/enforce=restricted"
    done = release.run("label", "namespace", RELEASE, label, "--overwrite", "--dry-run=server")
    assert done.returncode == 0
    assert "violate" not in done.stderr


def test_the_release_knows_no_secret(release: Kubectl) -> None:
    known = helm("get", "all", RELEASE) + helm("get", "notes", RELEASE)
    for concept in ("database", "broker", "auth"):
        for key, value in release.get("secret", f"{RELEASE}-{concept}")["data"].items():
            if key not in ("username", "database", "vhost"):
                assert base64.b64decode(value).decode() not in known


def test_the_notes_say_how_to_begin() -> None:
    notes = helm("get", "notes", RELEASE)
    assert f"get secret {RELEASE}-auth" in notes
    assert "export MAESTRO_API_URL=" in notes
    assert f"helm test {RELEASE}" in notes


def allowed(account: str, verb: str, resource: str, namespace: str) -> bool:
    who = f"system:serviceaccount:{RELEASE}:{RELEASE}-{account}"
    kind, _, part = resource.partition("/")
    of_it = [f"--subresource={part}"] if part else []
    answer = Kubectl(namespace).run("auth", "can-i", verb, kind, *of_it, f"--as={who}")
    return str(answer.stdout).strip() == "yes"


@pytest.mark.parametrize(
    ("account", "verb", "resource", "namespace", "expected"),
    [
        ("operator", "watch", "automations.rps-maestro.io", DEFINITIONS, True),
        ("operator", "create", "deployments.apps", NAMESPACE, True),
        ("operator", "create", "pods", DEFINITIONS, False),
        ("operator", "patch", "automations.rps-maestro.io", DEFINITIONS, False),
        ("operator", "get", "secrets", RELEASE, False),
        ("operator", "list", "automations.rps-maestro.io", "default", False),
        ("operator", "watch", "businesscalendars.rps-maestro.io", DEFINITIONS, True),
        ("operator", "patch", "businesscalendars.rps-maestro.io/status", DEFINITIONS, True),
        ("operator", "create", "events", DEFINITIONS, True),
        ("api", "create", "automations.rps-maestro.io", DEFINITIONS, True),
        ("api", "create", "automations.rps-maestro.io", NAMESPACE, False),
        ("api", "create", "businesscalendars.rps-maestro.io", DEFINITIONS, False),
        ("api", "get", "secrets", RELEASE, False),
        ("dispatcher", "list", "pods", RELEASE, False),
    ],
)
def test_accounts_may_do_what_they_need_and_no_more(
    account: str, verb: str, resource: str, namespace: str, expected: bool
) -> None:
    assert allowed(account, verb, resource, namespace) is expected


def test_kubernetes_own_roles_include_definitions(kubectl: Kubectl, name: str) -> None:
    kubectl("create", "rolebinding", name, "--clusterrole=view", f"--user={name}")
    try:
        see = kubectl.run("auth", "can-i", "list", "schedules.rps-maestro.io", f"--as={name}")
        write = kubectl.run("auth", "can-i", "create", "automations.rps-maestro.io", f"--as={name}")
    finally:
        kubectl("delete", "rolebinding", name)
    assert (see.stdout.strip(), write.stdout.strip()) == ("yes", "no")


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_samples_are_accepted(sample: Path) -> None:
    kubectl_in_any_namespace("apply", "--dry-run=server", "--validate=strict", "-f", str(sample))


def test_there_are_samples() -> None:
    assert len(SAMPLES) == 7


def test_the_rendered_manifest_is_accepted() -> None:
    manifest = str(ROOT / "manifests" / "install.yaml")
    said = kubectl_in_any_namespace(
        "apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", manifest
    )
    assert "statefulset.apps/maestro-postgresql serverside-applied" in said


def test_watched_namespaces_enforce_the_restricted_level() -> None:
    for namespace in (DEFINITIONS, NAMESPACE):
        labels = json.loads(Kubectl()("get", "namespace", namespace, "-o", "json"))["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
