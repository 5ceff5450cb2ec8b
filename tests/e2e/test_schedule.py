"""Schedules on the cluster: an applied one fires, a bad one says what is wrong with it and how to mend it,
and whoever asks why one did not run is told.

Minutes are dear, so all that has to see one pass waits for the same one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from e2e.cluster import Api, Kubectl, automation, calendar, eventually, schedule, scripted

EACH_MINUTE = "* * * * *"
SCRIPT = """
def run(parameters, context):
    return {"seen": parameters}
"""
BAD_EDITS: dict[str, dict[str, str]] = {
    "InvalidCron": {"cron": "0 25 * * *"},
    "InvalidTimeZone": {"timeZone": "Brasil/Capital"},
    "CalendarNotFound": {"calendar": "nowhere"},
    "AutomationNotFound": {"automation": "nobody"},
}
"""By the reason that each gives."""
SAYS = {
    "InvalidCron": "25 in the hour field is out of range",
    "InvalidTimeZone": "such as America/Sao_Paulo",
    "CalendarNotFound": "nowhere",
    "AutomationNotFound": "nobody",
}


def scheduled_jobs(api: Api, automation_id: int) -> list[dict[str, Any]]:
    return list(api.get("/jobs", params={"automation_id": automation_id}).json()["items"])


def events(kubectl: Kubectl, name: str, reason: str) -> list[dict[str, Any]]:
    """Those of that reason: one that was seen before its automation has told so too."""
    about = f"involvedObject.name={name},involvedObject.kind=Schedule,reason={reason}"
    return kubectl.list("events", "--field-selector", about)


def refused(kubectl: Kubectl, name: str, reason: str) -> dict[str, Any] | None:
    """The Ready condition once it is False for that reason."""
    condition = kubectl.condition("schedule", name)
    return condition if (condition.get("status"), condition.get("reason")) == ("False", reason) else None


def path_of(kubectl: Kubectl, name: str) -> str:
    return f"/schedules/{kubectl.get('schedule', name)['status']['id']}"


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


@dataclass(frozen=True)
class Minute:
    """Schedules of each minute, by what is the matter with them, once a minute has passed over all."""

    automation: str
    began: datetime
    names: dict[str, str]
    decided: dict[str, dict[str, Any]]
    """The latest occurrence of each."""


@pytest.fixture(scope="module")
def minute(kubectl: Kubectl, api: Api) -> Iterator[Minute]:
    stem = f"e2e-{uuid4().hex[:6]}"
    names = {what: f"{stem}-{what.lower()}" for what in ("good", "holiday", "suspended", *BAD_EDITS)}
    each = {"automation": stem, "cron": EACH_MINUTE, "timeZone": "America/Sao_Paulo"}
    # Whatever day it is in São Paulo, and should it end meanwhile.
    closed = [datetime.now(UTC).date() + timedelta(days=days) for days in (-1, 0, 1)]
    kubectl.apply(
        scripted(stem, SCRIPT, defaultParams={"a": 1, "b": 1}),
        automation(names["suspended"], suspend=True),
        calendar(stem, weekend=[], holidays=[{"date": f"{day}", "name": "Stocktaking"} for day in closed]),
        schedule(names["good"], **each, parameters={"b": 2, "day": "of {{today}}"}),
        schedule(names["holiday"], **each, calendar=stem),
        schedule(names["suspended"], **each | {"automation": names["suspended"]}),
        *(schedule(names[reason], **each) for reason in BAD_EDITS),
    )
    for name in names.values():
        kubectl.wait_ready("schedule", name)
    kubectl.apply(*(schedule(names[reason], **each | edit) for reason, edit in BAD_EDITS.items()))
    for reason in BAD_EDITS:
        eventually(lambda reason=reason: refused(kubectl, names[reason], reason), f"it is {reason}", 30)
    began = datetime.now(UTC)
    paths = {what: path_of(kubectl, name) for what, name in names.items()}

    def decided(what: str) -> dict[str, Any] | None:
        found = api.get(f"{paths[what]}/occurrences?limit=1").json()["items"]
        return next((one for one in found if instant(one["nominalAt"]) > began), None)

    yield Minute(
        stem,
        began,
        names,
        {what: eventually(lambda what=what: decided(what), f"a minute of {what}", 75) for what in names},
    )
    for name in names.values():
        kubectl("delete", "schedule", name, "--wait=false")


def test_each_minute_fires(kubectl: Kubectl, api: Api, minute: Minute) -> None:
    fired = minute.decided["good"]
    assert (fired["outcome"], fired["reason"], fired["effectiveAt"]) == ("fired", None, fired["nominalAt"])
    assert instant(fired["nominalAt"]).second == 0
    assert instant(fired["decidedAt"]) - instant(fired["nominalAt"]) < timedelta(seconds=10)
    job = api.wait_ended(fired["jobId"], 120)
    today = instant(fired["nominalAt"]).astimezone(UTC) - timedelta(hours=3)
    seen = {"a": 1, "b": 2, "day": f"of {today:%d/%m/%Y}"}
    assert (job["status"], job["result"]) == ("completed", {"seen": seen})
    assert job["scheduledFor"] == fired["nominalAt"]
    others = api.get(f"{path_of(kubectl, minute.names['good'])}/occurrences").json()["items"]
    assert len({one["nominalAt"] for one in others}) == len({one["jobId"] for one in others}) == len(others)


def test_its_status_tells_of_it(kubectl: Kubectl, minute: Minute) -> None:
    def told() -> dict[str, Any] | None:
        status = kubectl.get("schedule", minute.names["good"])["status"]
        return status if "lastJob" in status and "lastOccurrence" in status else None

    status = eventually(told, "its status has the last job", 75, 1)
    assert status["timeZone"] == "America/Sao_Paulo"
    assert status["lastRunTime"].endswith(":00Z")
    assert status["nextRunTime"] > status["lastRunTime"]
    assert status["lastJob"]["status"] in ("pending", "running", "completed")
    assert status["lastOccurrence"]["outcome"] == "fired"


def test_a_run_on_a_holiday_is_skipped_and_told(kubectl: Kubectl, api: Api, minute: Minute) -> None:
    name, skipped = minute.names["holiday"], minute.decided["holiday"]
    assert (skipped["outcome"], skipped["reason"], skipped["jobId"]) == ("skipped", "Holiday", None)
    assert "Stocktaking" in skipped["message"]
    [event, *_] = eventually(lambda: events(kubectl, name, "Holiday"), "an event", 30)
    assert (event["type"], "Stocktaking" in event["message"]) == ("Normal", True)
    assert "Stocktaking" in kubectl("describe", "schedules.rps-maestro.io", name)
    [first, *_] = api.get(f"{path_of(kubectl, name)}/upcoming").json()
    assert (first["outcome"], first["reason"], first["runsAt"]) == ("skipped", "Holiday", None)
    lasting = kubectl.get("schedule", name)["status"]
    assert lasting["nextRunTime"][:10] > f"{minute.began:%Y-%m-%d}"


def test_a_run_of_a_suspended_automation_is_skipped_and_told(kubectl: Kubectl, minute: Minute) -> None:
    skipped = minute.decided["suspended"]
    assert (skipped["outcome"], skipped["reason"]) == ("skipped", "AutomationSuspended")
    name = minute.names["suspended"]
    [event, *_] = eventually(lambda: events(kubectl, name, "AutomationSuspended"), "an event", 30)
    assert event["type"] == "Normal"


@pytest.mark.parametrize("reason", BAD_EDITS)
def test_a_bad_edit_is_told_and_the_last_good_state_keeps_firing(
    kubectl: Kubectl, minute: Minute, reason: str
) -> None:
    name, fired = minute.names[reason], minute.decided[reason]
    condition = refused(kubectl, name, reason)
    assert condition
    assert SAYS[reason] in condition["message"]
    told = [event for event in events(kubectl, name, reason) if SAYS[reason] in event["message"]]
    assert [event["type"] for event in told] == ["Warning"]
    assert fired["outcome"] == "fired"


@pytest.mark.parametrize(
    ("spec", "reason", "says"),
    [
        ({"cron": "61 * * * *"}, "InvalidCron", "61 in the minute field is out of range"),
        ({"cron": "0 0 30 2 *"}, "InvalidCron", "never occurs"),
        ({"cron": "0 8 * *"}, "InvalidCron", "exactly five are needed"),
        ({"cron": "0 8 L-1 * *"}, "InvalidCron", "L-1"),
        ({"cron": EACH_MINUTE, "timeZone": "Brasil/Capital"}, "InvalidTimeZone", "such as America/Sao_Paulo"),
        ({"cron": EACH_MINUTE, "calendar": "nowhere"}, "CalendarNotFound", "nowhere"),
    ],
)
def test_a_bad_spec_is_not_ready_with_a_reason_and_an_event(
    kubectl: Kubectl, name: str, spec: dict[str, str], reason: str, says: str
) -> None:
    kubectl.apply(automation(name), schedule(name, automation=name, **spec))
    condition = eventually(lambda: refused(kubectl, name, reason), f"Ready=False {reason}", 30)
    assert says in condition["message"]
    [event] = eventually(lambda: events(kubectl, name, reason), "a Warning event", 30)
    assert (event["type"], says in event["message"]) == ("Warning", True)

    kubectl.apply(schedule(name, automation=name, cron="0 8 * * mon-fri", timeZone="UTC"))
    kubectl.wait_ready("schedule", name, 30)


def test_a_schedule_may_come_before_its_automation(kubectl: Kubectl, name: str) -> None:
    kubectl.apply(schedule(name, automation=name, cron="0 8 * * *"))
    condition = eventually(lambda: refused(kubectl, name, "AutomationNotFound"), "it waits", 30)
    assert name in condition["message"]
    kubectl.apply(automation(name))
    kubectl.wait_ready("schedule", name, 60)


def test_suspending_takes_the_next_run_away(kubectl: Kubectl, api: Api, name: str) -> None:
    kubectl.apply(automation(name), schedule(name, automation=name, cron="0 8 * * *"))
    kubectl.wait_ready("schedule", name)
    path = path_of(kubectl, name)
    assert len(api.get(f"{path}/upcoming?count=3").json()) == 3
    kubectl("patch", "schedule", name, "--type=merge", "-p", '{"spec": {"suspend": true}}')
    eventually(lambda: "nextRunTime" not in kubectl.get("schedule", name)["status"], "it is suspended")
    assert api.get(f"{path}/upcoming").json() == []


def test_an_unknown_field_is_refused_at_once(kubectl: Kubectl, name: str) -> None:
    manifest = schedule(name, automation=name, cron="0 8 * * *", timezone="UTC")
    with pytest.raises(AssertionError, match=r'unknown field "(spec\.)?timezone"'):
        kubectl.apply(manifest)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"onHoliday": "Next"}, "name a BusinessCalendar in calendar"),
        (
            {"startTime": "2027-01-01T00:00:00Z", "endTime": "2026-12-31T22:00:00-01:00"},
            "must not lie before",
        ),
        ({"startTime": "tomorrow"}, "startTime"),
        ({"concurrencyPolicy": "Never"}, "Unsupported value"),
        ({"catchUp": {"policy": "Some"}}, "Unsupported value"),
        ({"catchUp": {"windowSeconds": 0}}, "should be greater than or equal to 1"),
        ({"jitterSeconds": -1}, "should be greater than or equal to 0"),
    ],
)
def test_what_the_schema_can_refuse_is_refused_at_once(
    kubectl: Kubectl, name: str, spec: dict[str, Any], says: str
) -> None:
    with pytest.raises(AssertionError, match=says):
        kubectl.apply(schedule(name, automation=name, cron="0 8 * * *", **spec))


def test_what_is_left_out_is_filled_in_or_left_out(kubectl: Kubectl, name: str) -> None:
    kubectl.apply(schedule(name, automation=name, cron="0 8 * * *"))
    assert kubectl.get("schedule", name)["spec"] == {
        "automation": name,
        "cron": "0 8 * * *",
        "concurrencyPolicy": "Allow",
        "catchUp": {"policy": "Last", "windowSeconds": 3600},
        "onHoliday": "Skip",
    }
