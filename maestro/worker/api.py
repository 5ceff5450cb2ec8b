"""The worker's side of the REST contract: /worker/jobs/:id.

Whatever can mend itself (no connection, 429, 5xx, an answer that is not Maestro's) is tried again until a
deadline; every call may be repeated without harm, since it carries the attempt's token (and each line its
number). Any other refusal is final.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

import requests

from maestro.errors import ERROR_HEADER, MaestroError, Unavailable
from maestro.worker.sdk import Progress

logger = logging.getLogger(__name__)

_TIMEOUT = (5, 30)  # seconds to connect, to answer
_LONGEST_PAUSE = 10.0
_LONGEST_RETRY_AFTER = 60.0
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_NOT_A_PROXYS = frozenset({400, 404, 405, 409, 422})
"""What a proxy can't know of a job. From anything but Maestro it means that the call did not get there: an
ingress without its route for a moment, or a mistaken MAESTRO_API_URL."""


class ApiRefusedError(MaestroError):
    """The API answered no, and asking again will not change it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class ApiAwayError(Unavailable):
    """The API could not be reached in the time given."""


def never() -> bool:
    """The default of `give_up`: only the deadline ends the trying."""
    return False


class JobApi:
    """The calls of one attempt. Threads may share it."""

    def __init__(self, session: requests.Session, base: str, job_id: str) -> None:
        self._session, self._url = session, f"{base}/worker/jobs/{job_id}"
        self._token = str(uuid4())

    def start(self, seconds: float, give_up: Callable[[], bool] = never) -> int:
        """Make the attempt; returns its number."""
        return int(self._call("POST", "start", {}, seconds, give_up).get("attempt", 1))

    def logs(self, lines: list[dict[str, Any]], seconds: float) -> None:
        """Hand in numbered lines."""
        self._call("POST", "logs", lines, seconds)

    def finish(self, status: str, result: Mapping[str, Any] | None, seconds: float) -> None:
        """Report how the attempt ended."""
        self._call("POST", "finish", {"status": status, "result": result}, seconds)

    def heartbeat(self, progress: Progress) -> bool:
        """Give a sign of life, tell how far the bot has come, and learn whether to stop."""
        body = {"progress": progress.fraction, "message": progress.message}
        return bool(self._call("POST", "heartbeat", body, 5).get("cancellation_requested"))

    def release(self, seconds: float) -> None:
        """Hand the job back: another worker begins it anew, and this attempt does not count."""
        self._call("POST", "release", None, seconds)

    def _call(
        self, method: str, what: str, body: object, seconds: float, give_up: Callable[[], bool] = never
    ) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        tries = 0
        while True:
            try:
                reply = self._once(method, what, body)
                if tries > 1:
                    logger.info("The API is back: %s went through after %d tries.", what, tries + 1)
                return reply
            except _TryAgainError as error:
                tries += 1
                pause = _pause(tries, error.after)
                if give_up() or time.monotonic() + pause > deadline:
                    raise ApiAwayError(f"{what} did not go through: {error}") from None
                if tries in (2, 10) or tries % 100 == 0:
                    logger.warning("The API does not take %s (%s); trying on.", what, error)
                time.sleep(pause)

    def _once(self, method: str, what: str, body: object) -> dict[str, Any]:
        try:
            response = self._session.request(
                method,
                f"{self._url}/{what}",
                data=None if body is None else json.dumps(body, ensure_ascii=False).encode(errors="replace"),
                headers={"X-Attempt-Token": self._token, "Content-Type": "application/json"},
                timeout=_TIMEOUT,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise _TryAgainError(_reason(error)) from None
        return _answer(response)


class _TryAgainError(Exception):
    def __init__(self, message: str, after: float = 0) -> None:
        super().__init__(message)
        self.after = after


def connect(worker_key: str) -> requests.Session:
    """A session that keeps its connections: a start must not pay for a handshake."""
    session = requests.Session()
    session.headers["X-Worker-API-Key"] = worker_key
    return session


def _answer(response: requests.Response) -> dict[str, Any]:
    if response.status_code in _TRY_AGAIN:
        raise _TryAgainError(f"{response.status_code} {_error(response)}", _retry_after(response))
    if _is_strangers(response):
        told = f"{response.status_code} from something that is not Maestro's API, check MAESTRO_API_URL"
        raise _TryAgainError(f"{told}: {_error(response)}")
    if not response.ok:
        raise ApiRefusedError(response.status_code, _error(response))
    try:
        body = response.json()
    except ValueError:
        raise _TryAgainError(f"an answer that is not JSON: {response.text!r:.80}") from None
    return body if isinstance(body, dict) else {}


def _is_strangers(response: requests.Response) -> bool:
    if response.is_redirect:
        return True
    return response.status_code in _NOT_A_PROXYS and ERROR_HEADER not in response.headers


def _error(response: requests.Response) -> str:
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200] or response.reason


def _reason(error: requests.RequestException) -> str:
    match error:
        case requests.ConnectionError():
            return "no connection"
        case requests.Timeout():
            return "no answer in time"
        case _:
            return str(error)


def _retry_after(response: requests.Response) -> float:
    try:
        return min(float(response.headers.get("Retry-After", 0)), _LONGEST_RETRY_AFTER)
    except ValueError:
        return 0


def _pause(tries: int, at_least: float) -> float:
    # The first repetition comes at once: mostly it is an idle connection that the server had closed.
    pause = 0.0 if tries == 1 else min(0.1 * 2 ** (tries - 2), _LONGEST_PAUSE)
    return max(pause * random.uniform(0.75, 1.25), at_least)  # noqa: S311 - spreads load, guards nothing
