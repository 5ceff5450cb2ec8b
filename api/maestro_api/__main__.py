"""The api process: `python -m maestro_api`."""

import logging
import sys

from maestro.settings import settings
from maestro_api.app import create_app
from maestro_api.logs import GatheringHandler
from maestro_api.server import Server


def main() -> None:
    chosen = settings()
    # Not asked for by the format below, and a system call each on every line.
    logging.logProcesses = logging.logThreads = False
    logging.basicConfig(
        level=chosen.log_level,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        handlers=[GatheringHandler(sys.stderr.fileno())],
    )
    host = "0.0.0.0"  # noqa: S104  # a pod's own address; the Service decides who reaches it
    Server(create_app(chosen), host, chosen.api_port).run()


if __name__ == "__main__":
    main()
