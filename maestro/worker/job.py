"""One job from its message to its result: start, run the bot, deliver its lines, finish."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from enum import Enum

import requests

from maestro import metrics
from maestro.worker.api import ApiAwayError, ApiRefusedError, JobApi
from maestro.worker.bot import Bot, Outcome
from maestro.worker.delivery import LogDelivery
from maestro.worker.message import JobMessage
from maestro.worker.sdk import Progress
from maestro.worker.settings import WorkerSettings

logger = logging.getLogger(__name__)


class Verdict(Enum):
    """What becomes of the message."""

    ACCEPT = "ack"
    """The job is ours, or nobody's: the message has done its work."""
    HAND_BACK = "requeue"
    """Not now, not here: back to the queue."""
    REFUSE = "dead-letter"
    """Never, nowhere: to the dead-letter queue."""


Settle = Callable[[Verdict], None]


class JobRun:
    """The work on one message. `run` blocks; `stop_waiting` and `kill` come from other threads."""

    def __init__(self, settings: WorkerSettings, session: requests.Session, message: JobMessage) -> None:
        self._settings, self._message = settings, message
        self._api = JobApi(session, settings.api_url, message.job_id)
        self._unwanted = threading.Event()
        self._reported = threading.Event()
        self._superseded = self._handed_back = False
        self._bot: Bot | None = None

    def stop_waiting(self) -> None:
        """Give up on an API that is away; a bot that runs goes on."""
        self._unwanted.set()

    def hand_back(self) -> None:
        """End the bot at once and give its job back, for another worker to begin anew; wait a while."""
        if self._bot is None:
            return
        self._handed_back = True
        self._bot.kill()
        self._reported.wait(2 * self._settings.release_seconds)

    def run(self, settle: Settle) -> None:
        """Start the job, settle its message, and see the job to its end."""
        try:
            attempt = self._api.start(self._settings.start_retry_seconds, self._unwanted.is_set)
        except (ApiAwayError, ApiRefusedError) as error:
            settle(self._not_started(error))
            return
        settle(Verdict.ACCEPT)
        logger.info("Job %s, attempt %d: started.", self._message.job_id, attempt)
        try:
            self._report(self._execute(attempt))
        finally:
            self._reported.set()

    def _not_started(self, error: ApiAwayError | ApiRefusedError) -> Verdict:
        job = self._message.job_id
        if isinstance(error, ApiAwayError):
            logger.warning("Job %s: handed back to the queue. %s", job, error)
            return Verdict.HAND_BACK
        if error.status in (404, 409):
            logger.warning("Job %s: message dropped, the API says %s", job, error)
            return Verdict.ACCEPT
        if error.status in (400, 422):
            logger.error("Job %s: message refused, the API says %s", job, error)
            return Verdict.REFUSE
        logger.error("Job %s: handed back. Check MAESTRO_WORKER_KEY and MAESTRO_API_URL: %s", job, error)
        return Verdict.HAND_BACK

    def _execute(self, attempt: int) -> Outcome:
        with LogDelivery(self._api, self._settings.delivery_retry_seconds) as lines:
            self._bot = Bot(self._settings, self._message, attempt, lines)
            ended = threading.Event()
            watch = threading.Thread(target=self._watch, args=(self._bot, ended), daemon=True)
            watch.start()
            try:
                return self._bot.run()
            except Exception as error:
                logger.exception("A fault of the worker ended job %s", self._message.job_id)
                return Outcome.failed(
                    f"The worker failed while it ran the bot: {error}", type(error).__name__
                )
            finally:
                self._bot = None
                ended.set()

    def _watch(self, bot: Bot, ended: threading.Event) -> None:
        """Give signs of life until the bot ends, the first at once: after it, silence is soon noticed."""
        told: Progress | None = None
        while told is None or not self._rest(bot, told, ended):
            told = bot.progress
            try:
                if self._api.heartbeat(told):
                    bot.cancel()
            except ApiAwayError as error:
                logger.info("%s", error)
            except ApiRefusedError as error:
                if error.status in (404, 409):
                    logger.warning("Job %s is no longer this attempt's: %s", self._message.job_id, error)
                    self._superseded = True
                    bot.cancel()

    def _rest(self, bot: Bot, told: Progress, ended: threading.Event) -> bool:
        """Wait until a sign of life is due or there is progress to tell; true when the bot ended first."""
        settings = self._settings
        soon = min(settings.progress_seconds, settings.heartbeat_seconds)
        due = time.monotonic() + settings.heartbeat_seconds
        while not ended.wait(soon):
            if bot.progress != told or time.monotonic() >= due:
                return False
        return True

    def _report(self, outcome: Outcome) -> None:
        metrics.WORKER_JOBS.labels(outcome.status).inc()
        job = self._message.job_id
        if self._handed_back:
            self._release()
            return
        if self._superseded:
            logger.warning("Job %s: result dropped, the attempt is not the current one.", job)
            return
        try:
            self._finish(outcome)
        except (ApiAwayError, ApiRefusedError) as error:
            logger.error("Job %s: %s, but the API did not take it. %s", job, outcome.status, error)
        else:
            logger.info("Job %s: %s.", job, outcome.status)

    def _release(self) -> None:
        try:
            self._api.release(self._settings.release_seconds)
        except (ApiAwayError, ApiRefusedError) as error:
            logger.warning("Job %s could not be handed back: %s", self._message.job_id, error)
        else:
            logger.info("Job %s: handed back.", self._message.job_id)

    def _finish(self, outcome: Outcome) -> None:
        seconds = self._settings.delivery_retry_seconds
        try:
            self._api.finish(outcome.status, outcome.result, seconds)
        except ApiRefusedError as error:
            if error.status not in (400, 413, 422):
                raise
            told = Outcome.failed(f"The API refused the bot's result ({error}).", "ResultRefused")
            self._api.finish(told.status, told.result, seconds)
