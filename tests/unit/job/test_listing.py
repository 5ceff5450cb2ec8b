import re
from dataclasses import fields

from maestro.db import Statements
from maestro.job.model import Job


def test_a_page_selects_the_fields_of_a_job_in_their_order() -> None:
    selected, _, _ = Statements("maestro.job", "listing.sql")["page"].partition("FROM (")
    columns = [column.strip() for column in re.sub(r"^.*SELECT", "", selected, flags=re.DOTALL).split(",")]
    assert [re.sub(r".* AS |^[ja]\.", "", column) for column in columns] == [f.name for f in fields(Job)]
