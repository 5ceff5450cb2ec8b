from uuid import UUID

import pytest

from maestro.job.feed import ids_in, payloads


@pytest.mark.parametrize("count", [0, 1, 200, 201, 1_000])
def test_ids_fit_into_notifications_and_come_out_again(count: int) -> None:
    ids = [UUID(int=2**127 + number) for number in range(count)]
    told = list(payloads(ids))
    assert all(0 < len(payload.encode()) < 8_000 for payload in told)
    assert [each for payload in told for each in ids_in(payload)] == ids
