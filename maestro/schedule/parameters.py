"""The parameters of a run: a schedule's own, their placeholders filled in."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from maestro import jsontext
from maestro.schedule.placeholders import expand
from maestro.schedule.timing import Timing, previous_run


def parameters_at(timing: Timing, nominal: datetime, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that the run of that nominal instant has. Raises BadInput for a date out of bounds."""
    text = jsontext.dump(parameters)
    if "{{" not in text:
        return dict(parameters)
    # To find the run before, years may have to be walked through.
    previous = previous_run(timing, nominal) if "prev_run" in text else None
    expanded: dict[str, Any] = expand(dict(parameters), nominal=nominal, previous=previous, zone=timing.zone)
    return expanded
