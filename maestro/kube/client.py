"""A small client of the Kubernetes API: JSON in, JSON out, Maestro's errors.

The `kubernetes` package finds the cluster and keeps its credentials fresh; its models are left aside, since
building them costs more than the request they come from. Blocking and thread-safe: async callers use
`asyncio.to_thread`.
"""

import logging
import time
from collections.abc import Mapping
from typing import Any, NoReturn, Self
from urllib.parse import urlencode

import orjson
import urllib3
from kubernetes.client import Configuration
from kubernetes.client.rest import RESTClientObject
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config

from maestro import metrics
from maestro.errors import (
    BadInput,
    Conflict,
    Forbidden,
    KindNotServed,
    KubernetesAway,
    NotFound,
    OwnedElsewhere,
    TooLarge,
)
from maestro.kube.kinds import Kind, kind_of

log = logging.getLogger(__name__)

Resource = dict[str, Any]

_JSON = "application/json"
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_PAGE = 500
_TIMEOUT = urllib3.Timeout(connect=5, read=30)
# A connection that died while idle is opened again. All but POST may be sent twice without harm.
_RECONNECT = urllib3.Retry(
    2,
    status=0,
    redirect=0,
    backoff_factor=0.1,
    allowed_methods={"GET", "PATCH", "DELETE"},
    respect_retry_after_header=False,  # `_call` does that, with a bound
)
_THROTTLED_TRIES = 5
_LONGEST_RETRY_AFTER = 10.0


class Kube:
    """Reads and writes objects by kind, namespace and name."""

    def __init__(self, configuration: Configuration) -> None:
        # One connection for each thread that may call at once; more would be opened and thrown away.
        configuration.connection_pool_maxsize = 32
        self._configuration = configuration
        self._http = RESTClientObject(configuration).pool_manager

    @classmethod
    def connect(cls) -> Self:
        """The cluster of this pod, else the kubeconfig's. Raises KubernetesAway when there is neither."""
        configuration = Configuration()
        try:
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        except ConfigException:
            try:
                load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            except ConfigException as error:
                raise KubernetesAway(f"No cluster to talk to: {error}") from error
        return cls(configuration)

    def get(self, kind: Kind, namespace: str, name: str) -> Resource | None:
        """One object, None when there is none. Raises KindNotServed, which tells nothing of the object."""
        try:
            return self._call("GET", kind.path(namespace, name))
        except KindNotServed:
            raise
        except NotFound:
            return None

    def serves(self, kind: Kind, namespace: str | None = None) -> bool:
        """Whether the cluster knows the kind. `namespace` is one we may list."""
        try:
            self._call("GET", kind.path(namespace), {"limit": "1"})
        except KindNotServed:
            return False
        return True

    def list(self, kind: Kind, namespace: str | None = None, *, labels: str = "") -> list[Resource]:
        """All objects of a namespace, or of the cluster. Raises KindNotServed."""
        found: list[Resource] = []
        page: dict[str, str] = {"limit": str(_PAGE)}
        if labels:
            page["labelSelector"] = labels
        while True:
            reply = self._call("GET", kind.path(namespace), page)
            found += reply["items"]
            page["continue"] = reply["metadata"].get("continue", "")
            if not page["continue"]:
                break
        for item in found:  # items of a list do not say what they are
            item["apiVersion"], item["kind"] = kind.api_version, kind.kind
        return found

    def apply(self, resource: Mapping[str, Any], *, manager: str, force: bool = False) -> Resource:
        """Server-side apply of exactly these fields.

        Raises OwnedElsewhere naming the other manager and field (unless `force`), BadInput with the server's
        sentence, NotFound when the namespace does not exist.
        """
        metadata = resource["metadata"]
        query = {"fieldManager": manager, "force": str(force).lower(), "fieldValidation": "Strict"}
        path = kind_of(resource).path(metadata["namespace"], metadata["name"])
        return self._call("PATCH", path, query, resource, _APPLY)

    def create(self, resource: Mapping[str, Any], *, manager: str) -> Resource:
        """Create an object. Raises Conflict when it exists."""
        path = kind_of(resource).path(resource["metadata"]["namespace"])
        return self._call("POST", path, {"fieldManager": manager}, resource, _JSON)

    def patch_status(
        self, kind: Kind, namespace: str, name: str, status: Mapping[str, Any], *, manager: str
    ) -> Resource:
        """Merge these fields into the status subresource; a None removes its field. Raises NotFound."""
        path = kind.path(namespace, name, "status")
        return self._call("PATCH", path, {"fieldManager": manager}, {"status": status}, _MERGE)

    def delete(self, kind: Kind, namespace: str, name: str, *, uid: str | None = None) -> bool:
        """Delete an object and, in the background, what it owns; False when there is none.

        With `uid` only that very object: Conflict when another one has its name by now.
        """
        options: Resource = {"propagationPolicy": "Background"}
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            self._call("DELETE", kind.path(namespace, name), {}, options, _JSON)
        except NotFound:
            return False
        return True

    def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = _JSON,
    ) -> Resource:
        for _ in range(_THROTTLED_TRIES):
            reply = self._send(method, path, query or {}, body, content_type)
            if reply.status != 429:
                break
            wait = min(float(reply.headers.get("Retry-After") or 1), _LONGEST_RETRY_AFTER)
            log.info("the API server asks to wait %.0f s", wait)
            time.sleep(wait)
        document = _document(reply)
        if reply.status >= 300:
            _refuse(reply.status, document, path)
        return document

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None,
        content_type: str,
    ) -> urllib3.BaseHTTPResponse:
        url = self._configuration.host + path + ("?" + urlencode(query) if query else "")
        headers = {"Accept": _JSON, "User-Agent": "maestro"}
        if body is not None:
            headers["Content-Type"] = content_type
        # Asking refreshes the pod's own token when it is older than a minute.
        headers |= {auth["key"]: auth["value"] for auth in _credentials(self._configuration)}
        try:
            reply = self._http.request(
                method,
                url,
                body=orjson.dumps(body) if body is not None else None,
                headers=headers,
                timeout=_TIMEOUT,
                retries=_RECONNECT,
            )
        except urllib3.exceptions.HTTPError as error:
            metrics.KUBERNETES_REQUESTS.labels(method, "away").inc()
            raise KubernetesAway(f"The Kubernetes API server can't be reached: {error}") from error
        metrics.KUBERNETES_REQUESTS.labels(method, reply.status).inc()
        return reply


def _credentials(configuration: Configuration) -> list[dict[str, str]]:
    """The headers that say who we are; none when a client certificate does."""
    return list(configuration.auth_settings().values())  # type: ignore[arg-type]


def _document(reply: urllib3.BaseHTTPResponse) -> Resource:
    """The reply's JSON; a Status in its place when a proxy or an unknown path answered in plain text."""
    try:
        document: Resource = orjson.loads(reply.data)
    except orjson.JSONDecodeError:
        return {"message": reply.data.decode(errors="replace").strip()}
    return document


def _refuse(code: int, status: Mapping[str, Any], path: str) -> NoReturn:
    """Raise what a reply of this code means to us, with the server's own sentence."""
    sentence = str(status.get("message") or f"HTTP {code} for {path}")
    match code:
        case 401 | 403:
            raise Forbidden(f"{sentence} (grant it to Maestro's ServiceAccount, or check its token)")
        case 404 | 410:
            raise _absence(status, sentence, path)
        case 409:
            raise _conflict(status, sentence)
        case 413:
            raise TooLarge(sentence)
        case 400 | 415 | 422:
            raise BadInput(sentence)
        case _:
            raise KubernetesAway(f"The Kubernetes API server answered {code}: {sentence}")


def _absence(status: Mapping[str, Any], sentence: str, path: str) -> NotFound:
    # The server names an absent object, but answers an absent kind with a bare sentence or plain text.
    if status.get("details", {}).get("name"):
        return NotFound(sentence)
    return KindNotServed(f"The cluster does not serve {path}; install Maestro's CRDs.")


def _conflict(status: Mapping[str, Any], sentence: str) -> Conflict:
    causes = status.get("details", {}).get("causes", [])
    owned = [cause for cause in causes if cause.get("reason") == "FieldManagerConflict"]
    if not owned:
        return Conflict(sentence)
    fields = "; ".join(f"{cause.get('field', '').lstrip('.')}: {cause.get('message', '')}" for cause in owned)
    return OwnedElsewhere(
        f"Another field manager owns what would be written ({fields}); "
        "change it there, or send ?force=true to take it over."
    )
