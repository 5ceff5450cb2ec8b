"""The cursor of a list: where its next page begins, in a word that fits a query as it is."""

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from binascii import crc32
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self
from uuid import UUID

import orjson

from maestro.errors import BadInput
from maestro.job.listing import Place
from maestro.job.model import Filter

_LENGTH = 48
_LAYOUT = struct.Struct(">q16sqI")  # 36 bytes, so that Base64 needs no padding
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place of a page's last job, and how many jobs matched when the walk through these pages began.

    Walked to its end, a list shows about that many jobs; counting them anew for each page would take longer
    than the page.
    """

    place: Place
    total: int
    list: int
    """Tells lists of other filters, for which that total says nothing."""

    @classmethod
    def of(cls, place: Place, total: int, wanted: Filter) -> Self:
        return cls(place, total, _fingerprint(wanted))

    def total_of(self, wanted: Filter) -> int | None:
        """The walk's total, None when it is the walk of another list."""
        return self.total if self.list == _fingerprint(wanted) else None

    def __str__(self) -> str:
        microseconds = (self.place.created_at - _EPOCH) // _MICROSECOND
        packed = _LAYOUT.pack(microseconds, self.place.id.bytes, self.total, self.list)
        return urlsafe_b64encode(packed).decode()

    @classmethod
    def read(cls, text: str) -> Self:
        """Raises BadInput unless it is what a reply's nextCursor said."""
        try:
            if len(text) != _LENGTH:
                raise ValueError
            microseconds, job_id, total, list_ = _LAYOUT.unpack(urlsafe_b64decode(text.encode()))
            if total < 0:
                raise ValueError
            created_at = _EPOCH + timedelta(microseconds=microseconds)
        except (NotBase64, ValueError, OverflowError, struct.error):
            raise BadInput(
                "after: this is no cursor; send the nextCursor of a page as it is, or leave after out to "
                "begin with the newest."
            ) from None
        return cls(Place(created_at, UUID(bytes=job_id)), total, list_)


def _fingerprint(wanted: Filter) -> int:
    return crc32(orjson.dumps(wanted))
