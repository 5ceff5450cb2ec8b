"""The examples' bots, run as the worker runs them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from integration.worker.test_bot import Workshop

EXAMPLES = Path(__file__).parents[3] / "examples"
KEY = "35180834128745000152550010000474281920007498"


def automation(example: str) -> dict[str, Any]:
    documents = yaml.safe_load_all((EXAMPLES / example / "automation.yaml").read_text())
    return dict(next(each for each in documents if each["kind"] == "Automation")["spec"])


def test_01_reads_the_samples_and_names_the_awkward_files(tmp_path: Path) -> None:
    spec, workshop = automation("01-nfe-summary"), Workshop(tmp_path)
    files = EXAMPLES / "01-nfe-summary" / "files"
    outcome = workshop.run(spec["worker"]["script"], spec["defaultParams"] | {"directory": str(files)})
    assert outcome.status == "completed"
    assert outcome.result
    summary = outcome.result["summary"]
    assert (summary["ok"], len(summary["failed"]), summary["no_data"], summary["skipped"]) == (18, 6, 1, 4)
    said = "\n".join(workshop.lines.messages)
    assert all(path.name in said for path in files.iterdir())
    assert len(workshop.lines.lines) == 20 + len(list(files.iterdir()))


def test_03_checks_access_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES / "03-own-image")
    workshop = Workshop(tmp_path)
    outcome = workshop.run("", {"keys": [KEY, KEY[:-1] + "0"]}, module="nfe_keys.bot")
    assert outcome.status == "completed"
    assert outcome.result
    assert [each["key"] for each in outcome.result["valid"]] == [KEY]
    assert outcome.result["summary"]["failed"][0]["message"] == "the check digit is 0, and should be 8"
    refused = workshop.run("", {}, module="nfe_keys.bot")
    assert refused.result
    assert refused.result["error_class"] == "INVALID_PARAMETERS"
