"""A small REST client for people's calls: what the command line needs, and scripts may use."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import requests

from maestro.errors import (
    BadInput,
    Conflict,
    Forbidden,
    MaestroError,
    NotFound,
    TooLarge,
    Unauthorized,
    Unavailable,
)

DEFAULT_URL = "http://127.0.0.1:8080/api/v1"

Json = dict[str, Any]

_ERRORS: dict[int, type[MaestroError]] = {
    400: BadInput,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    422: BadInput,
}
_TIMEOUT = (5, 30)  # seconds to connect, to answer


class Client:
    """The REST API at `url`, called with a bearer token. Raises the errors of `maestro.errors`."""

    def __init__(self, token: str, url: str = DEFAULT_URL) -> None:
        self._url = url.rstrip("/")
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {token}"

    def automation(self, name: str) -> Json:
        """The automation with that name, [namespace/]resource name, queue or id: the first that fits."""
        listed: list[Json] = self._call("GET", "/automations")
        for matches in (_by_name, _by_resource, _by_queue, _by_id):
            found = [each for each in listed if matches(each, name)]
            if len(found) > 1:
                ids = ", ".join(str(each["id"]) for each in found)
                raise BadInput(f"{len(found)} automations are called {name!r}; give the id of one: {ids}.")
            if found:
                return found[0]
        raise NotFound(f"There is no automation {name!r}; GET /automations lists those there are.")

    def execute(self, automation_id: int, parameters: Json) -> Json:
        """Create a job; returns it."""
        job: Json = self._call("POST", f"/automations/{automation_id}/execute", parameters)
        return job

    def job(self, job_id: str) -> Json:
        """The job as it is now."""
        job: Json = self._call("GET", f"/jobs/{quote(job_id, safe='')}")
        return job

    def logs(self, job_id: str, after: int = 0) -> list[Json]:
        """The job's log lines past the one with that id."""
        lines: list[Json] = self._call("GET", f"/jobs/{quote(job_id, safe='')}/logs?after={after}")
        return lines

    def _call(self, method: str, path: str, body: object = None) -> Any:
        try:
            response = self._session.request(method, self._url + path, json=body, timeout=_TIMEOUT)
        except requests.ConnectionError:
            raise Unavailable(
                f"Nothing answers at {self._url}. Is Maestro up (`make up`)? MAESTRO_API_URL says where."
            ) from None
        except requests.RequestException as error:
            raise Unavailable(f"{self._url} can't be used: {error}") from None
        return _value(response)


def _value(response: requests.Response) -> Any:
    try:
        value = response.json()
    except json.JSONDecodeError:
        raise Unavailable(
            f"{response.url} answers {response.status_code} without JSON; MAESTRO_API_URL ends in /api/v1."
        ) from None
    if response.ok:
        return value
    message = value.get("error") if isinstance(value, dict) else None
    kind = _ERRORS.get(response.status_code, Unavailable)
    if kind is Unauthorized:
        message = (
            "The API does not take this token; put a valid one in MAESTRO_TOKEN (`make token` prints one)."
        )
    raise kind(message or f"The API answered {response.status_code}.")


def _by_name(automation: Json, name: str) -> bool:
    return bool(automation["name"] == name)


def _by_resource(automation: Json, name: str) -> bool:
    resource = automation.get("resourceName")
    return name in (resource, f"{automation.get('namespace')}/{resource}")


def _by_queue(automation: Json, name: str) -> bool:
    return bool(automation.get("queueName") == name)


def _by_id(automation: Json, name: str) -> bool:
    return str(automation["id"]) == name
