"""examples/01-nfe-summary: its totals against an independent count, and what each awkward file comes to."""

import importlib.util
import re
import subprocess
import sys
import time
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from maestro.worker import Context, NoData

EXAMPLE = Path(__file__).parents[2] / "examples" / "01-nfe-summary"
DUPLICATE = "nfelib/procNFe.xml"


def load(path: Path, name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bot() -> ModuleType:
    return load(EXAMPLE / "bot.py", "nfe_summary_bot")


def run(bot: ModuleType, **parameters: Any) -> dict[str, Any]:
    result = bot.run(parameters, Context("job", 1, parameters))
    return dict(result.result if isinstance(result, NoData) else result)


def independent_totals() -> dict[tuple[str, str], tuple[int, Decimal]]:
    """Of the samples, by regular expressions over the raw text; each access key once."""
    package = importlib.util.find_spec("nfelib")
    assert package
    assert package.submodule_search_locations
    folder = Path(package.submodule_search_locations[0], "nfe/samples/v4_0")
    invoices: dict[str, tuple[str, str, Decimal]] = {}
    for path in folder.rglob("*.xml"):
        text = path.read_text(encoding="utf-8-sig")
        key = re.search(r'<infNFe[^>]*\bId="(?:NFe)?([0-9]{44})"', text)
        if key:
            emitter = re.search(r"<emit>\s*<(?:CNPJ|CPF)>(\d+)<", text)
            month = re.search(r"<dhEmi>(\d{4}-\d{2})-\d{2}T", text)
            value = re.search(r"<vNF>([\d.]+)</vNF>", text)
            assert emitter
            assert month
            assert value
            invoices[key[1]] = emitter[1], month[1], Decimal(value[1])
    totals: dict[tuple[str, str], tuple[int, Decimal]] = defaultdict(lambda: (0, Decimal(0)))
    for issuer, month_, value_ in invoices.values():
        count, total = totals[issuer, month_]
        totals[issuer, month_] = count + 1, total + value_
    return dict(totals)


def test_the_totals_of_the_samples_agree_with_an_independent_count(bot: ModuleType) -> None:
    result = run(bot)
    totals = {
        (row["issuer"], row["month"]): (row["invoices"], Decimal(row["total"])) for row in result["totals"]
    }
    assert totals == independent_totals()
    assert result["invoices"] == sum(count for count, _ in totals.values()) == 18
    assert Decimal(result["total"]) == sum(total for _, total in totals.values()) == Decimal("356144.06")


def test_each_of_the_twenty_samples_is_counted_or_named(bot: ModuleType) -> None:
    result = run(bot)
    assert result["summary"] == {"ok": 18, "failed": [], "no_data": 0, "skipped": 2}
    reasons = {each["file"]: each["reason"] for each in result["not_counted"]}
    assert (
        "inutNFe" in reasons["nfelib/leiauteInutNFe/41080676472349000430550010000001041671821888-ped-inu.xml"]
    )
    assert "the same invoice as nfelib/leiauteNFe/41170706117473000150" in reasons[DUPLICATE]


def test_the_totals_agree_with_nfelibs_own_reading(bot: ModuleType) -> None:
    """In a process of its own: the generated classes are large."""
    code = """
import sys
from pathlib import Path
from decimal import Decimal
from nfelib.nfe.bindings.v4_0.proc_nfe_v4_00 import NfeProc
import nfelib
total = Decimal(0)
for path in Path(nfelib.__file__).parent.joinpath("nfe/samples/v4_0/leiauteNFe").glob("*.xml"):
    total += Decimal(NfeProc.from_xml(path.read_text("utf-8")).NFe.infNFe.total.ICMSTot.vNF)
print(total)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    contingency = Decimal("15.00")  # the one counted sample outside that folder
    assert Decimal(done.stdout.strip().splitlines()[-1]) + contingency == Decimal(run(bot)["total"])


def test_awkward_files_are_named_and_stop_nothing(bot: ModuleType) -> None:
    result = run(bot, directory=str(EXAMPLE / "files"))
    summary = result["summary"]
    assert (summary["ok"], summary["no_data"], summary["skipped"]) == (18, 1, 4)
    assert result["partial_success"] is True
    assert {each["file"]: each["message"].split(":")[0] for each in summary["failed"]} == {
        "external-entity.xml": "it declares a document type (DTD), which is refused",
        "malformed.xml": "not well-formed XML",
        "without-total.xml": "total/ICMSTot/vNF is missing",
        "wrong-encoding.xml": "not well-formed XML",
        "xml-bomb.xml": "it declares a document type (DTD), which is refused",
        "xml-bomb-in-attribute.xml": "it declares a document type (DTD), which is refused",
    }
    assert {each["error_class"] for each in summary["failed"]} == {"INVALID_PARAMETERS"}
    left_out = {each["file"]: each["outcome"] for each in result["not_counted"]}
    assert left_out["empty.xml"] == "no_data"
    assert left_out["another-document.xml"] == left_out["layout-3.10.xml"] == "skipped"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "windows-1252"])
def test_a_bomb_in_any_encoding_costs_nothing(bot: ModuleType, tmp_path: Path, encoding: str) -> None:
    text = (EXAMPLE / "files" / "xml-bomb.xml").read_text().replace("UTF-8", encoding)
    (tmp_path / "bomb.xml").write_bytes(text.encode(encoding))
    began = time.monotonic()
    result = run(bot, samples=False, directory=str(tmp_path))
    assert time.monotonic() - began < 1
    assert [each["file"] for each in result["summary"]["failed"]] == ["bomb.xml"]


def test_a_huge_file_is_not_read(bot: ModuleType, tmp_path: Path) -> None:
    with (tmp_path / "huge.xml").open("wb") as file:
        file.truncate(10 * 1024**3)
    result = run(bot, samples=False, directory=str(tmp_path))
    assert "larger than" in result["summary"]["failed"][0]["message"]


def test_filters_by_issuer_and_month(bot: ModuleType) -> None:
    by_issuer = run(bot, issuer="34.128.745/0001-52")
    assert [(row["issuer"], row["invoices"]) for row in by_issuer["totals"]] == [("34128745000152", 10)]
    by_month = run(bot, month="2018-08")
    assert {row["issuer"] for row in by_month["totals"]} == {"34128745000152", "75335849000115"}


def test_no_invoices_is_no_data(bot: ModuleType, tmp_path: Path) -> None:
    parameters = {"samples": False, "directory": str(tmp_path)}
    assert isinstance(bot.run(parameters, Context("job", 1, parameters)), NoData)


def invoice(**changes: str) -> str:
    fields = {
        "issuer": "<CPF>12345678909</CPF>",
        "value": "0.10",
        "key": "3526111234567890900055001000000001100000001" + "7",
        "status": "100",
    } | changes
    return f"""<nfeProc xmlns="http://www.portalfiscal.inf.br/nfe" versao="4.00"><NFe>
      <infNFe versao="4.00" Id="NFe{fields["key"]}">
        <ide><dhEmi>2026-01-31T23:59:59-03:00</dhEmi></ide>
        <emit>{fields["issuer"]}<xNome>Ana &amp; Filhos</xNome></emit>
        <total><ICMSTot><vNF>{fields["value"]}</vNF></ICMSTot></total>
      </infNFe></NFe>
      <protNFe><infProt><cStat>{fields["status"]}</cStat></infProt></protNFe></nfeProc>"""


def read(bot: ModuleType, folder: Path, *texts: str) -> dict[str, Any]:
    for number, text in enumerate(texts):
        (folder / f"{number}.xml").write_text(text)
    return run(bot, samples=False, directory=str(folder))


def test_cents_add_up_exactly_and_a_person_may_issue(bot: ModuleType, tmp_path: Path) -> None:
    keys = [f"35261112345678909000550010000000{number:02}1000000017" for number in range(10)]
    (row,) = read(bot, tmp_path, *(invoice(key=key) for key in keys))["totals"]
    assert row == {
        "issuer": "12345678909",
        "name": "Ana & Filhos",
        "month": "2026-01",
        "invoices": 10,
        "total": "1.00",
    }


def test_a_company_number_with_letters(bot: ModuleType, tmp_path: Path) -> None:
    key = "35261112ABC34501DE35550010000000011000000017"
    result = read(bot, tmp_path, invoice(key=key, issuer="<CNPJ>12ABC34501DE35</CNPJ>"))
    assert result["totals"][0]["issuer"] == "12ABC34501DE35"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"status": "110"}, "not authorized: cStat 110"),
        ({"value": "1e5"}, "total/ICMSTot/vNF is '1e5'"),
        ({"value": "NaN"}, "total/ICMSTot/vNF is 'NaN'"),
        ({"issuer": ""}, "emit/CPF is missing"),
        ({"key": "123"}, "its Id 'NFe123' is not an access key"),
    ],
)
def test_an_invoice_that_does_not_count_says_why(
    bot: ModuleType, tmp_path: Path, changes: dict[str, str], says: str
) -> None:
    result = read(bot, tmp_path, invoice(**changes))
    said = [each["message"] for each in result["summary"]["failed"]]
    said += [each["reason"] for each in result["not_counted"]]
    assert said == [says]
    assert result["invoices"] == 0


@pytest.mark.parametrize(
    "parameters", [{"month": "08/2018"}, {"month": 8}, {"directory": "/nowhere/at/all"}, {"issuer": ["x"]}]
)
def test_bad_parameters_fail_the_job_by_their_class(bot: ModuleType, parameters: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=next(iter(parameters))) as raised:
        run(bot, **parameters)
    assert raised.value.error_class == "INVALID_PARAMETERS"  # type: ignore[attr-defined]


def test_the_manifest_carries_the_bot_and_the_files_as_they_are() -> None:
    generate = load(EXAMPLE / "generate.py", "nfe_summary_generate")
    assert (EXAMPLE / "automation.yaml").read_text() == generate.rendered(), "run generate.py"
    config_map, automation = yaml.safe_load_all((EXAMPLE / "automation.yaml").read_text())
    assert automation["spec"]["worker"]["script"] == (EXAMPLE / "bot.py").read_text()
    assert {*config_map["data"], *config_map["binaryData"]} == {
        path.name for path in (EXAMPLE / "files").iterdir()
    }
    for name, text in config_map["data"].items():
        assert text.encode() == (EXAMPLE / "files" / name).read_bytes()
