"""The chart, rendered without a cluster: what it makes of its values, and what it refuses."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "maestro"
NAMESPACE = "maestro"
KUBERNETES = ("--kube-version", "1.34.0")  # a helm built without its own flags assumes one of long ago
SCRAPED = {"prometheus.io/scrape": "true", "prometheus.io/port": "9090", "prometheus.io/path": "/metrics"}
MEASURED = ("operator", "api", "dispatcher")
PLURALS = ("automations", "businesscalendars", "schedules")

Manifest = dict[str, Any]


def _cached_tools() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    return Path(os.environ.get("MAESTRO_CACHE", f"{base}/maestro")) / "bin"


HELM = shutil.which("helm", path=f"{os.environ['PATH']}:{_cached_tools()}")
pytestmark = pytest.mark.skipif(HELM is None, reason="helm is neither on PATH nor in the cache: make tools")


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(HELM), *arguments], capture_output=True, text=True, check=False, timeout=60)


def template(release: str, values: str) -> subprocess.CompletedProcess[str]:
    """`helm template` with these values over the defaults."""
    return subprocess.run(
        [str(HELM), "template", release, str(CHART), "--namespace", NAMESPACE, *KUBERNETES, "--values", "-"],
        input=values,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def parsed(text: str) -> list[Manifest]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C is ten times as fast
    return [document for document in yaml.load_all(text, Loader=loader) if document]


@cache
def _rendered(release: str, values: str) -> list[Manifest]:
    done = template(release, values)
    assert done.returncode == 0, done.stderr
    return parsed(done.stdout)


def render(release: str = "maestro", /, **values: Any) -> list[Manifest]:
    """Every object of the chart with these values over the defaults."""
    return _rendered(release, yaml.safe_dump(values))


def refusal(**values: Any) -> str:
    """What helm says to values that it must refuse."""
    done = template("maestro", yaml.safe_dump(values))
    assert done.returncode != 0, "helm took these values"
    return done.stderr


def find(manifests: list[Manifest], kind: str, name: str, namespace: str | None = None) -> Manifest:
    for each in manifests:
        metadata = each["metadata"]
        place = metadata.get("namespace") if namespace else None
        if (each["kind"], metadata["name"], place) == (kind, name, namespace):
            return each
    raise AssertionError(f"no {kind} {name} among {[(m['kind'], m['metadata']['name']) for m in manifests]}")


def names(manifests: list[Manifest], kind: str) -> list[str]:
    return [each["metadata"]["name"] for each in manifests if each["kind"] == kind]


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """The name and spec of every pod that these objects make."""
    for each in manifests:
        if each["kind"] in ("Deployment", "StatefulSet", "Job"):
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]
        elif each["kind"] == "Pod":
            yield each["metadata"]["name"], each["spec"]


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def environment(container: Manifest) -> dict[str, Any]:
    return {each["name"]: each.get("value") or each["valueFrom"]["secretKeyRef"] for each in container["env"]}


def process(manifests: list[Manifest], component: str) -> Manifest:
    deployment = find(manifests, "Deployment", f"maestro-{component}")
    return dict(deployment["spec"]["template"]["spec"]["containers"][0])


def test_lints_without_a_word() -> None:
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout


def test_generated_files_are_up_to_date() -> None:
    done = subprocess.run(
        [ROOT / "helm" / "generate.sh", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_secret_is_ever_rendered() -> None:
    assert "Secret" not in {each["kind"] for each in render()}


@pytest.mark.parametrize("release", ["maestro", "acme"])
def test_every_pod_meets_the_restricted_pod_security_standard(release: str) -> None:
    found = dict(pods(render(release)))
    assert len(found) == 7
    for name, pod in found.items():
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] in (999, 10001), name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert set(pod["volumes"][0]) <= {"name", "emptyDir", "configMap", "secret"}, name
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert container["resources"]["limits"]["memory"], name


def test_every_own_process_can_write_to_tmp_and_home() -> None:
    for name, pod in pods(render()):
        if pod["securityContext"]["runAsUser"] == 10001:
            for container in containers(pod):
                mounts = {each["mountPath"] for each in container["volumeMounts"]}
                assert mounts == {"/tmp", "/home/maestro"}, name


def test_only_those_who_speak_to_kubernetes_hold_a_token() -> None:
    holders = {name for name, pod in pods(render()) if pod.get("automountServiceAccountToken") is not False}
    assert {name for name in holders if "bootstrap" not in name} == {"maestro-operator", "maestro-api"}


def test_every_long_running_process_has_its_three_probes_and_migrates_first() -> None:
    manifests = render()
    for component in ("operator", "api", "dispatcher"):
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(process(manifests, component))
        pod = find(manifests, "Deployment", f"maestro-{component}")["spec"]["template"]["spec"]
        assert [each["command"] for each in pod["initContainers"]] == [["maestro", "migrate"]]
        assert pod["shareProcessNamespace"] is True


def test_processes_hold_only_the_secrets_they_use() -> None:
    manifests = render()
    secret = {
        component: {
            name
            for name, value in environment(process(manifests, component)).items()
            if isinstance(value, dict)
        }
        for component in ("operator", "api", "dispatcher")
    }
    servers = {"MAESTRO_DATABASE_URI", "MAESTRO_BROKER_URI", "MAESTRO_BROKER_MANAGEMENT_URI"}
    assert secret["dispatcher"] == servers
    assert secret["operator"] == servers | {"MAESTRO_WORKER_KEY"}
    assert secret["api"] == servers | {"MAESTRO_WORKER_KEY", "MAESTRO_ADMIN_TOKEN"}


def test_names_follow_the_release() -> None:
    manifests = render("acme")
    operator = environment(
        find(manifests, "Deployment", "acme-operator")["spec"]["template"]["spec"]["containers"][0]
    )
    assert operator["MAESTRO_DATABASE_URI"] == {"name": "acme-database", "key": "uri"}
    assert operator["MAESTRO_WORKER_API_URL"] == "http://acme-api.maestro.svc/api/v1"
    assert operator["MAESTRO_WORKER_BROKER_HOST"] == "acme-rabbitmq.maestro.svc:5672"


def test_the_longest_release_name_fits() -> None:
    longest = "m" * 40
    for each in render(longest):
        # The label controller-revision-hash adds 11 characters to a StatefulSet's name.
        limit = 52 if each["kind"] == "StatefulSet" else 63
        if each["kind"] != "CustomResourceDefinition":
            assert len(each["metadata"]["name"]) <= limit
    done = helm("template", longest + "m", str(CHART), *KUBERNETES)
    assert "has 41 characters" in done.stderr


def test_one_registry_and_the_pull_secrets_serve_every_image() -> None:
    secrets = [{"name": "login"}]
    manifests = render(image={"registry": "registry.example.com:5000/mirror"}, imagePullSecrets=secrets)
    images = {container["image"] for _, pod in pods(manifests) for container in containers(pod)}
    runner = environment(process(manifests, "operator"))["MAESTRO_RUNNER_IMAGE"]
    assert images | {runner} == {
        "registry.example.com:5000/mirror/maestro:0.1.0",
        "registry.example.com:5000/mirror/postgres:17",
        "registry.example.com:5000/mirror/rabbitmq:4.0-management",
    }
    assert all(pod["imagePullSecrets"] == secrets for _, pod in pods(manifests))


def test_a_digest_takes_the_place_of_the_tag() -> None:
    digest = "sha256:" + "0" * 64
    assert process(render(image={"digest": digest, "tag": "1"}), "api")["image"] == f"maestro@{digest}"


def test_scripts_may_run_in_an_image_of_their_own() -> None:
    image = {"repository": "bots/runner", "tag": "2", "pullPolicy": "Always", "pullSecrets": ["one", "two"]}
    operator = environment(process(render(worker={"image": image}), "operator"))
    assert operator["MAESTRO_RUNNER_IMAGE"] == "bots/runner:2"
    assert operator["MAESTRO_RUNNER_IMAGE_PULL_POLICY"] == "Always"
    assert operator["MAESTRO_RUNNER_IMAGE_PULL_SECRETS"] == "one,two"


def test_external_servers_take_the_place_of_the_bundled_ones() -> None:
    manifests = render(
        database={"existingSecret": "maestro-db-app", "uriKey": "uri"},
        broker={"existingSecret": "rabbit-default-user", "uriKey": "connection_string"},
    )
    assert names(manifests, "StatefulSet") == []
    api = environment(process(manifests, "api"))
    assert api["MAESTRO_DATABASE_URI"] == {"name": "maestro-db-app", "key": "uri"}
    assert api["MAESTRO_BROKER_URI"] == {"name": "rabbit-default-user", "key": "connection_string"}
    assert "MAESTRO_BROKER_MANAGEMENT_URI" not in api
    assert "MAESTRO_WORKER_BROKER_HOST" not in environment(process(manifests, "operator"))
    assert bootstrap_environment(manifests)["MAESTRO_BOOTSTRAP_SECRETS"] == "auth"


def test_every_process_knows_the_way_past_a_pooler() -> None:
    direct = {"name": "db", "key": "direct"}
    manifests = render(database={"existingSecret": "db", "directUriKey": "direct"})
    for component in ("operator", "api", "dispatcher"):
        pod = find(manifests, "Deployment", f"maestro-{component}")["spec"]["template"]["spec"]
        for each in (pod["initContainers"][0], process(manifests, component)):
            assert environment(each)["MAESTRO_DATABASE_DIRECT_URI"] == direct
    assert "MAESTRO_DATABASE_DIRECT_URI" not in environment(process(render(), "api"))


def test_live_logs_are_bounded() -> None:
    assert environment(process(render(), "api"))["MAESTRO_LOG_STREAMS"] == "2000"
    assert environment(process(render(api={"logStreams": 50}), "api"))["MAESTRO_LOG_STREAMS"] == "50"


def bootstrap_environment(manifests: list[Manifest]) -> dict[str, Any]:
    job = next(each for each in manifests if each["kind"] == "Job")
    return environment(job["spec"]["template"]["spec"]["containers"][0])


def test_with_every_secret_given_nothing_is_made() -> None:
    manifests = render(
        database={"existingSecret": "a"},
        broker={"existingSecret": "b", "managementUriKey": "management"},
        auth={"existingSecret": "c", "adminTokenKey": "admin", "workerKeyKey": "worker"},
    )
    assert names(manifests, "Job") == []
    api = environment(process(manifests, "api"))
    assert api["MAESTRO_BROKER_MANAGEMENT_URI"] == {"name": "b", "key": "management"}
    assert api["MAESTRO_ADMIN_TOKEN"] == {"name": "c", "key": "admin"}
    assert api["MAESTRO_WORKER_KEY"] == {"name": "c", "key": "worker"}


def test_bootstrap_is_a_hook_before_install_and_upgrade() -> None:
    manifests = render()
    hooks = [each for each in manifests if "pre-install" in str(each["metadata"].get("annotations"))]
    assert [each["kind"] for each in hooks] == ["ServiceAccount", "Role", "RoleBinding", "Job"]
    weights = [int(each["metadata"]["annotations"]["helm.sh/hook-weight"]) for each in hooks]
    assert weights == sorted(weights)
    job = hooks[-1]["spec"]
    assert job["activeDeadlineSeconds"] < 300
    assert job["template"]["spec"]["restartPolicy"] == "Never"


def test_bootstrap_may_read_the_secrets_of_its_release_only() -> None:
    rules = find(render("acme"), "Role", "acme-bootstrap")["rules"]
    assert [rule["resourceNames"] for rule in rules if "get" in rule["verbs"]] == [
        ["acme-database", "acme-broker", "acme-auth"],
        ["data-acme-postgresql-0", "data-acme-rabbitmq-0"],
    ]
    assert {verb for rule in rules for verb in rule["verbs"]} == {"create", "get"}


def test_bootstrap_without_hooks_is_named_by_what_it_runs() -> None:
    def job(**values: Any) -> Manifest:
        return next(each for each in render(bootstrap={"asHook": False}, **values) if each["kind"] == "Job")

    assert "annotations" not in job()["metadata"]
    assert bootstrap_environment([job()])["MAESTRO_BOOTSTRAP_CHECK_VOLUMES"] == "false"
    assert job()["metadata"]["name"] == job(logLevel="DEBUG")["metadata"]["name"]
    assert job()["metadata"]["name"] != job(image={"tag": "other"})["metadata"]["name"]


def rules(role: Manifest) -> dict[str, set[str]]:
    return {
        f"{resource}.{rule['apiGroups'][0]}".rstrip("."): set(rule["verbs"])
        for rule in role["rules"]
        for resource in rule["resources"]
    }


def test_the_operator_has_one_role_in_each_watched_namespace() -> None:
    manifests = render(watchNamespaces=["maestro-bots", "finance"])
    for namespace in ("maestro-bots", "finance"):
        allowed = rules(find(manifests, "Role", "maestro-operator", namespace))
        assert allowed["automations.rps-maestro.io"] == {"get", "list", "watch"}
        for plural in PLURALS:
            assert allowed[f"{plural}.rps-maestro.io"] == {"get", "list", "watch"}
            assert allowed[f"{plural}/status.rps-maestro.io"] == {"patch"}
        assert allowed["events"] == {"create"}
        assert allowed["pods"] == {"list"}
        binding = find(manifests, "RoleBinding", "maestro-operator", namespace)
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": "maestro-operator", "namespace": NAMESPACE}
        ]
    cluster_wide = [name for name in names(manifests, "ClusterRole") if "operator" in name]
    assert cluster_wide == []
    assert sorted(names(manifests, "Namespace")) == ["finance", "maestro-bots"]


def test_in_its_own_namespace_the_operator_reads_no_secrets() -> None:
    manifests = render(watchNamespaces=["maestro-bots", NAMESPACE])
    allowed = rules(find(manifests, "Role", "maestro-operator", NAMESPACE))
    assert not {"secrets", "pods"} & set(allowed)
    assert names(manifests, "Namespace") == ["maestro-bots"]


def test_cluster_wide_is_a_choice() -> None:
    manifests = render(clusterWide=True)
    assert "secrets" in rules(find(manifests, "ClusterRole", "maestro-maestro-operator"))
    assert environment(process(manifests, "operator"))["MAESTRO_WATCH_NAMESPACES"] == "*"
    operators = [
        each for each in manifests if each["kind"] == "Role" and "operator" in each["metadata"]["name"]
    ]
    assert operators == []


def test_the_api_writes_definitions_in_its_namespace_only() -> None:
    manifests = render(watchNamespaces=["finance", "bots"], api={"definitionsNamespace": "bots"})
    found = [
        each for each in manifests if each["kind"] == "Role" and each["metadata"]["name"] == "maestro-api"
    ]
    assert [each["metadata"]["namespace"] for each in found] == ["bots"]
    writes = {"get", "create", "patch", "delete"}
    assert rules(found[0]) == {"automations.rps-maestro.io": writes, "schedules.rps-maestro.io": writes}


def test_namespaces_and_crds_stay_when_the_release_goes() -> None:
    manifests = render()
    kept = [each for each in manifests if each["kind"] in ("Namespace", "CustomResourceDefinition")]
    assert len(kept) >= 3
    for each in kept:
        assert each["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    labels = find(manifests, "Namespace", "maestro-bots")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_crds_are_those_of_the_repository() -> None:
    sources = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    rendered = {
        each["metadata"]["name"]: each
        for each in render(crds={"keep": False})
        if each["kind"] == "CustomResourceDefinition"
    }
    assert rendered == {each["metadata"]["name"]: each for each in sources}


def test_crds_may_come_from_elsewhere() -> None:
    manifests = render(crds={"install": False}, namespaces={"create": False}, rbac={"aggregatedRoles": False})
    assert not {"CustomResourceDefinition", "Namespace", "ClusterRole"} & {each["kind"] for each in manifests}


def test_aggregated_roles() -> None:
    manifests = render()
    for level in ("view", "edit", "admin"):
        role = find(manifests, "ClusterRole", f"rps-maestro-{level}")
        assert role["metadata"]["labels"][f"rbac.authorization.k8s.io/aggregate-to-{level}"] == "true"
        assert "automations/status.rps-maestro.io" not in rules(role)
    seen = rules(find(manifests, "ClusterRole", "rps-maestro-view"))
    assert seen == {f"{plural}.rps-maestro.io": {"get", "list", "watch"} for plural in PLURALS}


def test_budgets_only_where_a_drain_can_go_on() -> None:
    assert names(render(), "PodDisruptionBudget") == []
    manifests = render(api={"replicas": 3}, dispatcher={"replicas": 2})
    assert names(manifests, "PodDisruptionBudget") == ["maestro-api", "maestro-dispatcher"]
    pod = find(manifests, "Deployment", "maestro-api")["spec"]["template"]["spec"]
    spread = [each["topologyKey"] for each in pod["topologySpreadConstraints"]]
    assert spread == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]


def test_there_is_one_operator_at_a_time() -> None:
    spec = find(render(), "Deployment", "maestro-operator")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_a_new_chart_version_alone_rolls_no_pod(tmp_path: Path) -> None:
    copy = tmp_path / "maestro"
    shutil.copytree(CHART, copy)
    chart = yaml.safe_load((copy / "Chart.yaml").read_text())
    (copy / "Chart.yaml").write_text(yaml.safe_dump(chart | {"version": "9.9.9"}))
    done = helm("template", "maestro", str(copy), "--namespace", NAMESPACE, *KUBERNETES)
    assert "maestro-9.9.9" in done.stdout
    newer = [each for each in parsed(done.stdout) if each["kind"] != "Job"]
    older = [each for each in render() if each["kind"] != "Job"]
    assert dict(pods(newer)) == dict(pods(older))


def test_the_brokers_configuration_rolls_its_pod() -> None:
    def checksum(**values: Any) -> str:
        template = find(render(**values), "StatefulSet", "maestro-rabbitmq")["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert checksum() == checksum(logLevel="DEBUG")
    assert checksum() != checksum(broker={"bundled": {"extraConfig": "heartbeat = 30"}})


def broker_configuration(**bundled: Any) -> dict[str, str]:
    config = find(render(broker={"bundled": bundled}), "ConfigMap", "maestro-rabbitmq")["data"][
        "90-maestro.conf"
    ]
    lines = (line for line in config.splitlines() if line.strip() and not line.startswith("#"))
    return dict(line.split(" = ", 1) for line in lines)


def test_the_broker_waits_a_day_for_a_bot_and_knows_its_memory() -> None:
    found = broker_configuration(resources={"limits": {"memory": "2Gi"}}, extraConfig="heartbeat = 30\n")
    assert found["consumer_timeout"] == "86400000"
    assert found["total_memory_available_override_value"] == "2GiB"
    assert found["heartbeat"] == "30"
    assert "total_memory_available_override_value" not in broker_configuration(
        resources={"limits": {"memory": 10**9}}
    )


def test_amqp_can_be_reached_from_outside_but_never_the_management_api() -> None:
    assert names(render(), "Service") == ["maestro-api", "maestro-postgresql", "maestro-rabbitmq"]
    manifests = render(broker={"bundled": {"service": {"type": "NodePort", "nodePort": 30672}}})
    assert find(manifests, "Service", "maestro-rabbitmq-amqp")["spec"]["ports"] == [
        {"name": "amqp", "port": 5672, "targetPort": "amqp", "nodePort": 30672}
    ]
    assert "type" not in find(manifests, "Service", "maestro-rabbitmq")["spec"]


def test_ingress() -> None:
    hosts, tls = ["maestro.example.com"], [{"secretName": "tls", "hosts": ["maestro.example.com"]}]
    manifests = render(api={"ingress": {"enabled": True, "className": "nginx", "hosts": hosts, "tls": tls}})
    spec = find(manifests, "Ingress", "maestro-api")["spec"]
    assert (spec["ingressClassName"], spec["tls"]) == ("nginx", tls)
    assert [rule["host"] for rule in spec["rules"]] == hosts
    any_host = find(render(api={"ingress": {"enabled": True}}), "Ingress", "maestro-api")["spec"]["rules"]
    assert [set(rule) for rule in any_host] == [{"http"}]


def test_the_pods_place_labels_and_environment_can_be_chosen() -> None:
    values: dict[str, Any] = {
        "extraEnv": [{"name": "MAESTRO_BODY_LIMIT", "value": "2048"}],
        "podLabels": {"team": "rpa"},
        "podAnnotations": {"prometheus.io/scrape": "false", "owner": "rpa"},
        "nodeSelector": {"pool": "small"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}
        ],
        "priorityClassName": "high",
        "terminationGracePeriodSeconds": 7,
    }
    manifests = render(operator=values, api=values, dispatcher=values)
    for component in ("operator", "api", "dispatcher"):
        template = find(manifests, "Deployment", f"maestro-{component}")["spec"]["template"]
        assert template["metadata"]["labels"]["team"] == "rpa"
        assert template["metadata"]["annotations"] == SCRAPED | values["podAnnotations"]
        for key in ("nodeSelector", "tolerations", "affinity", "topologySpreadConstraints"):
            assert template["spec"][key] == values[key]
        assert template["spec"]["priorityClassName"] == "high"
        assert template["spec"]["terminationGracePeriodSeconds"] == 7
        assert environment(process(manifests, component))["MAESTRO_BODY_LIMIT"] == "2048"


def annotations(manifests: list[Manifest], component: str) -> Any:
    template = find(manifests, "Deployment", f"maestro-{component}")["spec"]["template"]
    return template["metadata"].get("annotations")


def test_each_process_shows_its_metrics_on_a_port_that_nothing_leads_to() -> None:
    manifests = render(api={"ingress": {"enabled": True}, "service": {"type": "NodePort"}})
    for component in MEASURED:
        assert environment(process(manifests, component))["MAESTRO_METRICS_PORT"] == "9090"
        assert {"name": "metrics", "containerPort": 9090} in process(manifests, component)["ports"]
        assert annotations(manifests, component) == SCRAPED
    served = [each["spec"]["ports"] for each in manifests if each["kind"] == "Service"]
    assert not {"metrics", 9090} & {port["targetPort"] for ports in served for port in ports}
    scraped = [each for each in manifests if SCRAPED.items() <= _pod_annotations(each).items()]
    assert len(scraped) == len(MEASURED)
    assert "PodMonitor" not in {each["kind"] for each in manifests}


def _pod_annotations(manifest: Manifest) -> dict[str, str]:
    template = manifest.get("spec", {}).get("template", {})
    return dict(template.get("metadata", {}).get("annotations") or {})


def test_metrics_can_be_left_out() -> None:
    manifests = render(metrics={"enabled": False, "podMonitor": {"enabled": True}})
    for component in MEASURED:
        assert "MAESTRO_METRICS_PORT" not in environment(process(manifests, component))
        assert "metrics" not in [port["name"] for port in process(manifests, component)["ports"]]
        assert annotations(manifests, component) is None
    assert "PodMonitor" not in {each["kind"] for each in manifests}


def test_a_pod_monitor_takes_the_place_of_annotations() -> None:
    chosen = {"enabled": True, "labels": {"release": "prometheus", "team": "sre"}, "interval": "1m"}
    manifests = render("acme", metrics={"podMonitor": chosen}, commonLabels={"team": "rpa"})
    monitor = find(manifests, "PodMonitor", "acme")
    assert (monitor["metadata"]["labels"]["release"], monitor["metadata"]["labels"]["team"]) == (
        "prometheus",
        "sre",
    )
    assert monitor["spec"]["podMetricsEndpoints"] == [{"port": "metrics", "interval": "1m"}]
    selector = monitor["spec"]["selector"]
    [components] = selector["matchExpressions"]
    for component in MEASURED:
        template = find(manifests, "Deployment", f"acme-{component}")["spec"]["template"]
        assert selector["matchLabels"].items() <= template["metadata"]["labels"].items()
        assert template["metadata"]["labels"][components["key"]] in components["values"]
        assert "annotations" not in template["metadata"]


def test_labels_and_annotations_for_everything() -> None:
    manifests = render(
        commonLabels={"team": "rpa"},
        commonAnnotations={"owner": "platform"},
        metrics={"podMonitor": {"enabled": True}},
    )
    for each in manifests:
        if each["kind"] != "CustomResourceDefinition":
            metadata = each["metadata"]
            assert metadata["labels"]["team"] == "rpa", metadata["name"]
            assert metadata["annotations"]["owner"] == "platform", metadata["name"]


def test_objects_are_where_they_belong() -> None:
    cluster_scoped = {"Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"}
    for each in render() + render(clusterWide=True):
        assert ("namespace" not in each["metadata"]) == (each["kind"] in cluster_scoped), each["metadata"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"image": {"tag": 17}}, "tag"),
        ({"image": {"digest": "latest"}}, "digest"),
        ({"image": {"registry": "https://registry.example.com"}}, "registry"),
        ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
        ({"watchNamespaces": []}, "watchNamespaces"),
        ({"watchNamespaces": ["*"]}, "watchNamespaces"),
        ({"watchNamespaces": "maestro-bots"}, "watchNamespaces"),
        ({"watchNamespace": ["bots"]}, "watchNamespace"),
        ({"logLevel": "LOUD"}, "logLevel"),
        ({"api": {"replicas": "two"}}, "replicas"),
        ({"api": {"service": {"type": "Ingress"}}}, "type"),
        ({"worker": {"apiUrl": "http://maestro.example.com"}}, "apiUrl"),
        ({"broker": {"bundled": {"consumerTimeout": 5}}}, "consumerTimeout"),
        ({"operator": {"replicas": 2}}, "replicas"),
        ({"metrics": {"podMonitor": {"interval": "soon"}}}, "interval"),
        ({"api": {"definitionsNamespace": NAMESPACE}}, "the namespace of this release"),
        ({"api": {"definitionsNamespace": "elsewhere"}}, "not in watchNamespaces (maestro-bots)"),
    ],
)
def test_wrong_values_are_refused_by_name(values: dict[str, Any], words: str) -> None:
    assert words in refusal(**values)


def _undescribed(values: Any, schema: Manifest, definitions: Manifest, path: str = "") -> Iterator[str]:
    schema = definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if not isinstance(values, dict) or "properties" not in schema:
        return
    for key, value in values.items():
        if key not in schema["properties"]:
            yield f"{path}{key}"
        else:
            yield from _undescribed(value, schema["properties"][key], definitions, f"{path}{key}.")


def test_the_schema_knows_every_value_and_no_other() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert list(_undescribed(values, schema, schema["definitions"])) == []
    assert set(schema["properties"]) - {"global"} == set(values)


def test_every_value_is_in_the_guide() -> None:
    guide = (ROOT / "docs" / "guide" / "install.md").read_text()
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    missing = [
        f"{section}.{key}"
        for section, content in values.items()
        for key in (content if isinstance(content, dict) and content else [""])
        if f"`{section}.{key}".rstrip(".") not in guide
    ]
    assert missing == []
