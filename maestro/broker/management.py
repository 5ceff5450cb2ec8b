"""RabbitMQ's management API: its users, and what exists, in one call each. Blocking and thread-safe."""

import re
from collections.abc import Mapping
from typing import Any, NoReturn
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import orjson
import urllib3

from maestro.broker.queues import DEAD_LETTER_EXCHANGE, DEAD_LETTER_QUEUE
from maestro.errors import BrokerAway, Forbidden

Permissions = dict[str, str]
"""By action, the pattern of the names it is allowed for."""

_ACTIONS = ("configure", "write", "read")
_TIMEOUT = urllib3.Timeout(connect=5, read=30)


def reading(queue: str) -> Permissions:
    """Permission to read this queue, and for nothing else."""
    return {"configure": "^$", "write": "^$", "read": f"^{re.escape(queue)}$"}


class Management:
    """The management API of one broker, seen from one virtual host."""

    def __init__(self, uri: str, vhost: str) -> None:
        parts = urlsplit(uri)
        credentials = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        host = parts.netloc.rpartition("@")[2]
        self._root = urlunsplit(parts._replace(netloc=host)).rstrip("/") + "/api"
        self._vhost = quote(vhost, safe="")
        self._http = urllib3.PoolManager(
            maxsize=8,
            timeout=_TIMEOUT,
            retries=urllib3.Retry(1, status=0, redirect=0, respect_retry_after_header=False),
        )
        self._headers = urllib3.make_headers(basic_auth=credentials) | {"Content-Type": "application/json"}

    def queues(self) -> set[str]:
        """The names of all queues."""
        found = self._get(f"/queues/{self._vhost}?disable_stats=true&columns=name") or []
        return {each["name"] for each in found}

    def dead_letter_keys(self) -> set[str]:
        """The routing keys that `maestro.dlq` is bound for."""
        path = f"/exchanges/{self._vhost}/{quote(DEAD_LETTER_EXCHANGE)}/bindings/source"
        found = self._get(path) or []
        return {each["routing_key"] for each in found if each["destination"] == DEAD_LETTER_QUEUE}

    def permissions(self) -> dict[str, Permissions]:
        """What each user that may do anything in this virtual host may do there."""
        found = self._get(f"/vhosts/{self._vhost}/permissions") or []
        return {each["user"]: {action: each[action] for action in _ACTIONS} for each in found}

    def allow_reader(self, user: str, password: str, queue: str) -> None:
        """Make a user that may read this queue and nothing else, or bring it to that."""
        self._call("PUT", f"/users/{quote(user, safe='')}", {"password": password, "tags": ""})
        self._call("PUT", f"/permissions/{self._vhost}/{quote(user, safe='')}", reading(queue))

    def drop_user(self, user: str) -> None:
        """Delete a user; none of that name is as good."""
        self._call("DELETE", f"/users/{quote(user, safe='')}")

    def _get(self, path: str) -> Any:
        return self._call("GET", path)

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The reply's JSON; None for an empty one and for what does not exist."""
        try:
            reply = self._http.request(
                method,
                self._root + path,
                body=orjson.dumps(body) if body is not None else None,
                headers=self._headers,
            )
        except urllib3.exceptions.HTTPError as error:
            raise BrokerAway(f"RabbitMQ's management API can't be reached: {error}") from error
        if reply.status == 404:
            return None
        if reply.status >= 300:
            _refuse(reply)
        return orjson.loads(reply.data) if reply.data else None


def _refuse(reply: urllib3.BaseHTTPResponse) -> NoReturn:
    words = reply.data.decode(errors="replace").strip()
    if reply.status in (401, 403):
        raise Forbidden(
            f"RabbitMQ's management API refused Maestro's user ({words}); give it the tag administrator."
        )
    raise BrokerAway(f"RabbitMQ's management API answered {reply.status}: {words}")
