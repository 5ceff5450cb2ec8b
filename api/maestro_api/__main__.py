"""The api process: `python -m maestro_api`."""

import logging

import uvicorn

from maestro.settings import settings
from maestro_api.app import create_app

SHUTDOWN_SECONDS = 20
"""For requests under way when told to stop; well within the grace that the chart gives the pod."""

KEEP_ALIVE_SECONDS = 75
"""Longer than clients keep idle connections, so that it is they who close them and no request is lost."""


def main() -> None:
    chosen = settings()
    logging.basicConfig(level=chosen.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    uvicorn.run(
        create_app(chosen),
        host="0.0.0.0",  # noqa: S104  # a pod's own address; the Service decides who reaches it
        port=chosen.api_port,
        loop="uvloop",
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,  # the gate writes one
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )


if __name__ == "__main__":
    main()
