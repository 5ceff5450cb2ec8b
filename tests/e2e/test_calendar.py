"""BusinessCalendars on the cluster: what they tell, what they refuse, and that schedules go by them."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from e2e.cluster import Api, Kubectl, automation, calendar, eventually, schedule

KIND = "businesscalendar"
SAO_PAULO = {"country": "BR", "subdivision": "SP"}


def refused(kubectl: Kubectl, kind: str, name: str, reason: str) -> str | None:
    """The Ready condition's message once it is False for that reason."""
    condition = kubectl.condition(kind, name)
    said = (condition.get("status"), condition.get("reason")) == ("False", reason)
    return str(condition["message"]) if said else None


def warnings(kubectl: Kubectl, name: str) -> list[tuple[str, str]]:
    about = f"involvedObject.name={name},involvedObject.kind=BusinessCalendar,type=Warning"
    return [
        (event["reason"], event["message"]) for event in kubectl.list("events", "--field-selector", about)
    ]


def test_a_calendar_tells_its_next_holidays(kubectl: Kubectl, name: str) -> None:
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    own = [{"date": f"{tomorrow}", "name": "Stocktaking"}]
    kubectl.apply(calendar(name, **SAO_PAULO, holidays=own))
    kubectl.wait_ready(KIND, name)
    status = kubectl.get(KIND, name)["status"]
    days = [date.fromisoformat(each["date"]) for each in status["nextHolidays"]]
    assert len(days) == 5
    assert days == sorted(days)
    assert "Stocktaking" in str(status["nextHolidays"][:2])
    assert status["observedGeneration"] == 1
    [heading, line] = kubectl("get", "bizcal", name).splitlines()
    assert heading.split() == ["NAME", "COUNTRY", "SUBDIVISION", "NEXT", "HOLIDAY", "READY", "AGE"]
    assert line.split()[:4] == [name, "BR", "SP", f"{days[0]}"]
    assert "Carnival" in kubectl("explain", "businesscalendars.rps-maestro.io.spec.categories")


@pytest.mark.parametrize(
    ("spec", "refusal"),
    [
        ({"country": "XX"}, ("UnknownCountry", "XX")),
        ({"country": "BR", "subdivision": "XX"}, ("UnknownSubdivision", "SP")),
        ({"country": "BR", "categories": ["Lunar"]}, ("UnknownCategory", "Lunar")),
        ({"holidays": [{"date": "2026-02-30", "name": "n"}]}, ("InvalidDate", "2026-02-30")),
        ({"include": ["nowhere"]}, ("CalendarNotFound", "nowhere")),
    ],
)
def test_a_bad_calendar_is_told_and_the_last_good_one_serves(
    kubectl: Kubectl, api: Api, name: str, spec: dict[str, Any], refusal: tuple[str, str]
) -> None:
    reason, says = refusal
    kubectl.apply(calendar(name, weekend=["Sunday"]))
    kubectl.wait_ready(KIND, name)
    kubectl.apply(calendar(name, **spec))
    message = eventually(lambda: refused(kubectl, KIND, name, reason), f"Ready=False {reason}", 30)
    assert says in message
    [(told, words)] = eventually(lambda: warnings(kubectl, name), "a Warning event", 30)
    assert (told, says in words) == (reason, True)
    # 3 January 2032 is a Saturday.
    asked = {"cronExpression": "0 8 3 1 *", "calendar": name, "namespace": kubectl.namespace}
    reply = api.post("/schedules/preview", asked | {"startTime": "2032-01-01T00:00:00Z"})
    assert reply.json()[0] == "2032-01-03T08:00:00+00:00"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"subdivision": "SP"}, "name that in country"),
        ({"categories": ["Optional"]}, "name that in country"),
        ({"holidays": [{"date": "31.12.", "name": "n"}]}, "should match"),
        ({"holidays": [{"date": "12-31"}]}, "name"),
        ({"weekend": ["Someday"]}, "Unsupported value"),
        ({"weekend": ["Sunday", "Sunday"]}, "Duplicate value"),
    ],
)
def test_what_the_schema_can_refuse_is_refused_at_once(
    kubectl: Kubectl, name: str, spec: dict[str, Any], says: str
) -> None:
    with pytest.raises(AssertionError, match=says):
        kubectl.apply(calendar(name, **spec))


def test_two_that_include_each_other_are_told_so(kubectl: Kubectl, name: str) -> None:
    other = f"{name}-other"
    kubectl.apply(calendar(name, include=[other]), calendar(other, include=[name]))
    for each in (name, other):
        eventually(lambda each=each: refused(kubectl, KIND, each, "IncludeCycle"), "a circle", 60)
    kubectl.apply(calendar(other, **SAO_PAULO))
    for each in (name, other):
        kubectl.wait_ready(KIND, each, 30)


def test_a_schedule_goes_by_its_calendar_from_its_coming_to_its_going(
    kubectl: Kubectl, api: Api, name: str
) -> None:
    timing = {"cron": "0 18 L * *", "timeZone": "America/Sao_Paulo", "startTime": "2032-01-01T00:00:00-03:00"}
    last_business_day = timing | {"calendar": name, "onHoliday": "Previous"}
    kubectl.apply(automation(name), schedule(name, automation=name, **last_business_day))
    eventually(lambda: refused(kubectl, "schedule", name, "CalendarNotFound"), "it waits", 30)
    kubectl.apply(calendar(name, **SAO_PAULO))
    kubectl.wait_ready("schedule", name, 30)
    status = kubectl.get("schedule", name)["status"]
    assert status["nextRunTime"] == "2032-01-30T21:00:00Z"  # 31 January is a Saturday
    path = f"/schedules/{status['id']}/upcoming"
    [first, second, *_] = api.get(path).json()
    assert (first["nominalAt"][:10], first["effectiveAt"][:10]) == ("2032-01-31", "2032-01-30")
    assert (second["nominalAt"][:10], second["effectiveAt"][:10]) == ("2032-02-29", "2032-02-27")

    kubectl.apply(calendar(name, **SAO_PAULO, holidays=[{"date": "2032-01-30", "name": "Stocktaking"}]))
    moved = "2032-01-29T21:00:00Z"
    eventually(
        lambda: kubectl.get("schedule", name)["status"]["nextRunTime"] == moved, "it moves", 75, every=1
    )
    assert api.get(path).json()[0]["runsAt"] == "2032-01-29T21:00:00+00:00"

    kubectl("delete", KIND, name, "--timeout=10s")
    message = eventually(lambda: refused(kubectl, "schedule", name, "CalendarNotFound"), "it is told", 30)
    assert name in message
    assert api.get(path).json()[0]["runsAt"] == "2032-01-29T21:00:00+00:00"
    kubectl.apply(calendar(name, **SAO_PAULO))
    kubectl.wait_ready("schedule", name, 30)


def test_rest_goes_by_calendars_too(api: Api, name: str) -> None:
    definitions = Kubectl("maestro-bots")
    definitions.apply(calendar(name, "maestro-bots", **SAO_PAULO))
    try:
        definitions.wait_ready(KIND, name)
        made = api.post("/automations", {"name": name, "scriptPath": "x"}).json()
        asked = {
            "automationId": made["id"],
            "cronExpression": "0 18 8,15,L * *",
            "timeZone": "America/Sao_Paulo",
            "calendar": name,
            "onHoliday": "Next",
            "startTime": "2032-01-01T00:00:00-03:00",
            "parameters": {"from": "{{first_of_last_month}}"},
        }
        reply = api.post("/schedules", asked)
        assert reply.status_code == 201, reply.text
        shown = reply.json()
        assert shown["nextRunAt"] == "2032-01-08T21:00:00+00:00"
        spec = definitions.get("schedule", shown["resourceName"])["spec"]
        assert {"cron", "calendar", "onHoliday", "startTime"} <= set(spec)
        bad = {"onHoliday": "Run", "calendar": "nowhere"}
        assert api.put(f"/schedules/{shown['id']}", bad).status_code == 400
        assert api.delete(f"/automations/{made['id']}").status_code == 204
        assert api.delete(f"/schedules/{shown['id']}").status_code == 204
    finally:
        definitions("delete", KIND, name, "--ignore-not-found")
