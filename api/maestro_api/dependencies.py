"""Typed aliases that the routes take."""

from typing import Annotated

from fastapi import Depends, Header, Path, Query, Request

from maestro_api import services

LARGEST_ID = 2**31 - 1


# Coroutines, since FastAPI runs plain functions in a thread.
async def _services(request: Request) -> services.Services:
    found: services.Services = request.app.state.services
    return found


async def _automations(request: Request) -> services.Automations:
    return (await _services(request)).automations


async def _jobs(request: Request) -> services.Jobs:
    return (await _services(request)).jobs


async def _caller(request: Request) -> str:
    caller: str = request.scope["caller"]  # the gate's word: only people get here
    return caller


async def _live(request: Request) -> services.Live:
    return (await _services(request)).live


async def _lists(request: Request) -> services.Lists:
    return (await _services(request)).lists


async def _schedules(request: Request) -> services.Schedules:
    return (await _services(request)).schedules


async def _statistics(request: Request) -> services.Statistics:
    return (await _services(request)).statistics


async def _workers(request: Request) -> services.Workers:
    return (await _services(request)).workers


async def _health(request: Request) -> services.Health:
    return (await _services(request)).health


Automations = Annotated[services.Automations, Depends(_automations)]
Caller = Annotated[str, Depends(_caller)]
Health = Annotated[services.Health, Depends(_health)]
Jobs = Annotated[services.Jobs, Depends(_jobs)]
Live = Annotated[services.Live, Depends(_live)]
Lists = Annotated[services.Lists, Depends(_lists)]
Schedules = Annotated[services.Schedules, Depends(_schedules)]
Statistics = Annotated[services.Statistics, Depends(_statistics)]
Workers = Annotated[services.Workers, Depends(_workers)]

Id = Annotated[int, Path(ge=1, le=LARGEST_ID)]
Force = Annotated[bool, Query(description="Take over fields that another manager owns.")]
Idempotency = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="Your name for this call: sent again with the same body within 24 hours, it gives the "
        "same job; with another body, 422.",
    ),
]
AttemptToken = Annotated[
    str | None,
    Header(
        alias="X-Attempt-Token",
        min_length=1,
        max_length=128,
        description="The worker's own name for its attempt, on every call. Bots of the old kind have none.",
    ),
]
