"""What the routes call: each use case over the database, the custom resources and the publisher."""

from dataclasses import dataclass

from maestro_api.services.automation import Automations
from maestro_api.services.health import Health
from maestro_api.services.job import Jobs
from maestro_api.services.listing import Lists
from maestro_api.services.live import Live
from maestro_api.services.schedule import Schedules
from maestro_api.services.statistics import Statistics
from maestro_api.services.worker import Workers


@dataclass(frozen=True)
class Services:
    """One of each, made when the app starts."""

    automations: Automations
    health: Health
    jobs: Jobs
    live: Live
    lists: Lists
    schedules: Schedules
    statistics: Statistics
    workers: Workers


__all__ = ["Automations", "Health", "Jobs", "Lists", "Live", "Schedules", "Services", "Statistics", "Workers"]
