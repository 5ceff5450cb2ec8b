"""The api process: `python -m maestro_api`."""

import logging

from maestro.settings import settings
from maestro_api.app import create_app
from maestro_api.server import Server


def main() -> None:
    chosen = settings()
    logging.basicConfig(level=chosen.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    host = "0.0.0.0"  # noqa: S104  # a pod's own address; the Service decides who reaches it
    Server(create_app(chosen), host, chosen.api_port).run()


if __name__ == "__main__":
    main()
