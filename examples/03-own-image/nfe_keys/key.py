"""The access key of an electronic invoice: 44 characters that say who issued which document when."""

import re
from dataclasses import dataclass

# state, year, month, issuer (a CNPJ may have letters), model, series, number, emission, code, check digit
_PARTS = re.compile(r"(\d{2})(\d{2})(\d{2})([0-9A-Z]{12}\d{2})(\d{2})(\d{3})(\d{9})\d(\d{8})(\d)")

MODELS = {"55": "NF-e", "57": "CT-e", "58": "MDF-e", "65": "NFC-e", "67": "CT-e OS"}


@dataclass(frozen=True)
class AccessKey:
    state: str
    month: str
    issuer: str
    model: str
    number: int

    @classmethod
    def parse(cls, text: str) -> "AccessKey":
        """Raises ValueError that says what is wrong."""
        key = re.sub(r"[\s.-]", "", text).upper()
        found = _PARTS.fullmatch(key)
        if not found:
            raise ValueError(f"not 44 digits in the places of an access key, but {len(key)} characters")
        state, year, month, issuer, model, _series, number, _code, digit = found.groups()
        if digit != check_digit(key[:43]):
            raise ValueError(f"the check digit is {digit}, and should be {check_digit(key[:43])}")
        return cls(state, f"20{year}-{month}", issuer, MODELS.get(model, model), int(number))


def check_digit(key: str) -> str:
    """Modulo 11 with the weights 2 to 9 from the right; a letter counts by its place in ASCII after 0."""
    weighted = sum((ord(character) - 48) * (2 + place % 8) for place, character in enumerate(reversed(key)))
    rest = weighted % 11
    return str(0 if rest < 2 else 11 - rest)
