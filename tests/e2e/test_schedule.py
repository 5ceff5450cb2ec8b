"""Schedules on the cluster: an applied one fires, a bad one says what is wrong with it and how to mend it."""

from typing import Any

import pytest

from e2e.cluster import Api, Kubectl, automation, eventually, schedule, scripted

EACH_MINUTE = "* * * * *"
SCRIPT = """
def run(parameters, context):
    return {"seen": parameters}
"""


def scheduled_jobs(api: Api, automation_id: int) -> list[dict[str, Any]]:
    return list(api.get("/jobs", params={"automation_id": automation_id}).json()["items"])


def warnings(kubectl: Kubectl, name: str) -> list[dict[str, Any]]:
    about = f"involvedObject.name={name},involvedObject.kind=Schedule,type=Warning"
    return kubectl.list("events", "--field-selector", about)


def refused(kubectl: Kubectl, name: str, reason: str) -> dict[str, Any] | None:
    """The Ready condition once it is False for that reason."""
    condition = kubectl.condition("schedule", name)
    return condition if (condition.get("status"), condition.get("reason")) == ("False", reason) else None


def test_each_minute_fires(kubectl: Kubectl, api: Api, name: str) -> None:
    defaults, given = {"a": 1, "b": 1}, {"b": 2}
    kubectl.apply(
        scripted(name, SCRIPT, defaultParams=defaults),
        schedule(name, automation=name, cron=EACH_MINUTE, timeZone="America/Sao_Paulo", parameters=given),
    )
    kubectl.wait_ready("schedule", name)
    status = kubectl.get("schedule", name)["status"]
    assert status["timeZone"] == "America/Sao_Paulo"
    assert status["nextRunTime"]
    automation_id = kubectl.get("automation", name)["status"]["id"]
    [first, *_] = eventually(lambda: scheduled_jobs(api, automation_id), "the schedule fires", 90, 1)
    job = api.wait_ended(first["id"], 120)
    assert (job["status"], job["result"]) == ("completed", {"seen": {"a": 1, "b": 2}})

    kubectl("patch", "schedule", name, "--type=merge", "-p", '{"spec": {"suspend": true}}')
    eventually(lambda: "nextRunTime" not in kubectl.get("schedule", name)["status"], "it is suspended")
    last = kubectl.get("schedule", name)["status"]["lastRunTime"]
    assert last.endswith(":00Z")


@pytest.mark.parametrize(
    ("spec", "reason", "says"),
    [
        ({"cron": "61 * * * *"}, "InvalidCron", "61 in the minute field is out of range"),
        ({"cron": "0 0 30 2 *"}, "InvalidCron", "never occurs"),
        ({"cron": "0 8 * *"}, "InvalidCron", "exactly five are needed"),
        ({"cron": EACH_MINUTE, "timeZone": "Brasil/Capital"}, "InvalidTimeZone", "such as America/Sao_Paulo"),
    ],
)
def test_a_bad_spec_is_not_ready_with_a_reason_and_an_event(
    kubectl: Kubectl, name: str, spec: dict[str, str], reason: str, says: str
) -> None:
    kubectl.apply(automation(name), schedule(name, automation=name, **spec))
    condition = eventually(lambda: refused(kubectl, name, reason), f"Ready=False {reason}", 30)
    assert says in condition["message"]
    [event] = eventually(lambda: warnings(kubectl, name), "a Warning event", 30)
    assert event["reason"] == reason
    assert says in event["message"]

    kubectl.apply(schedule(name, automation=name, cron="0 8 * * mon-fri", timeZone="UTC"))
    kubectl.wait_ready("schedule", name, 30)


def test_a_bad_edit_leaves_the_last_good_one_serving(kubectl: Kubectl, api: Api, name: str) -> None:
    kubectl.apply(automation(name), schedule(name, automation=name, cron="0 8 * * *"))
    kubectl.wait_ready("schedule", name)
    path = f"/schedules/{kubectl.get('schedule', name)['status']['id']}"
    good = api.get(path).json()
    kubectl.apply(schedule(name, automation=name, cron="0 25 * * *"))
    eventually(lambda: refused(kubectl, name, "InvalidCron"), "Ready=False InvalidCron", 30)
    assert api.get(path).json()["nextRunAt"] == good["nextRunAt"]


def test_a_schedule_may_come_before_its_automation(kubectl: Kubectl, name: str) -> None:
    kubectl.apply(schedule(name, automation=name, cron="0 8 * * *"))
    condition = eventually(lambda: refused(kubectl, name, "AutomationNotFound"), "it waits", 30)
    assert name in condition["message"]
    kubectl.apply(automation(name))
    kubectl.wait_ready("schedule", name, 60)


def test_an_unknown_field_is_refused_at_once(kubectl: Kubectl, name: str) -> None:
    manifest = schedule(name, automation=name, cron="0 8 * * *", timezone="UTC")
    with pytest.raises(AssertionError, match=r'unknown field "(spec\.)?timezone"'):
        kubectl.apply(manifest)
