"""Paths of objects in the Kubernetes API."""

import pytest

from maestro.errors import BadInput
from maestro.kube import AUTOMATION, DEPLOYMENT, SECRET, kind_of


def test_paths() -> None:
    assert AUTOMATION.path("n", "a", "status") == (
        "/apis/rps-maestro.io/v1alpha1/namespaces/n/automations/a/status"
    )
    assert SECRET.path("n") == "/api/v1/namespaces/n/secrets"
    assert DEPLOYMENT.path(None) == "/apis/apps/v1/deployments"


def test_a_foreign_kind_is_refused() -> None:
    assert kind_of({"apiVersion": "v1", "kind": "Secret"}) == SECRET
    with pytest.raises(BadInput, match="Automation"):
        kind_of({"apiVersion": "v1", "kind": "Node"})
