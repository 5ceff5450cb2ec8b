"""`python -m maestro_operator`: runs until told to stop."""

import logging

import kopf
import uvloop

from maestro.settings import Settings, settings
from maestro_operator import handlers
from maestro_operator.lifecycle import Lifecycle


def main() -> None:
    configuration = settings()
    logging.basicConfig(
        level=configuration.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    # kopf tells of each event and each probe; what matters to people is said by our own loggers.
    for name in ("kopf.objects", "kopf.activities", "aiohttp.access"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    while uvloop.run(_run(configuration)):
        pass


async def _run(configuration: Settings) -> bool:
    """Run kopf; True when it is to run again."""
    lifecycle = Lifecycle(configuration)
    everywhere = configuration.watch_namespaces == ["*"]
    await kopf.operator(
        registry=kopf.get_default_registry(),
        standalone=True,
        clusterwide=everywhere,
        namespaces=[] if everywhere else configuration.watch_namespaces,
        liveness_endpoint=f"http://0.0.0.0:{configuration.health_port}/healthz",
        stop_flag=lifecycle.again,
        memo=kopf.Memo(lifecycle=lifecycle),
    )
    return lifecycle.again.is_set()


if __name__ == "__main__":
    assert handlers  # importing them registers them  # noqa: S101
    main()
