"""examples/03-own-image: its reading of access keys, against the keys of real invoices."""

import importlib.util
import re
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "03-own-image"
REAL = "35180834128745000152550010000474281920007498"


@pytest.fixture(autouse=True)
def example_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE))


def protocolled_keys() -> set[str]:
    """Of nfelib's samples, those a tax authority has protocolled: it checks the digit."""
    package = importlib.util.find_spec("nfelib")
    assert package
    assert package.submodule_search_locations
    folder = Path(package.submodule_search_locations[0], "nfe/samples/v4_0/leiauteNFe")
    texts = [path.read_text("utf-8-sig") for path in folder.glob("35*-nfe.xml")]
    return {found for text in texts for found in re.findall(r"<chNFe>(\d{44})</chNFe>", text)}


def test_real_keys_are_valid() -> None:
    from nfe_keys.key import AccessKey  # noqa: PLC0415 - importable through the fixture alone

    keys = protocolled_keys()
    assert len(keys) == 10
    assert {AccessKey.parse(key).issuer for key in keys} == {"34128745000152"}
    assert AccessKey.parse(REAL) == AccessKey("35", "2018-08", "34128745000152", "NF-e", 47428)


def test_any_changed_digit_but_few_is_noticed() -> None:
    from nfe_keys.key import AccessKey  # noqa: PLC0415 - importable through the fixture alone

    noticed = 0
    for place in range(44):
        wrong = REAL[:place] + str((int(REAL[place]) + 1) % 10) + REAL[place + 1 :]
        try:
            AccessKey.parse(wrong)
        except ValueError:
            noticed += 1
    assert noticed == 44


@pytest.mark.parametrize("key", ["", "1" * 43, "x" * 44, REAL + "0"])
def test_what_is_no_key_is_refused(key: str) -> None:
    from nfe_keys.key import AccessKey  # noqa: PLC0415 - importable through the fixture alone

    with pytest.raises(ValueError, match="not 44 digits"):
        AccessKey.parse(key)
