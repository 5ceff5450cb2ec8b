"""The worker: the runner around a bot, and what a bot's own code imports."""

from maestro.worker.sdk import BotError, Context, NoData

__all__ = ["BotError", "Context", "NoData"]
