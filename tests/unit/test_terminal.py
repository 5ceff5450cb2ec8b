"""What a terminal is shown."""

import pytest

from maestro import terminal


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("emissão de 3 notas ✓", "emissão de 3 notas ✓"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\rb\tc\x7f\x9b", "a\\rb\\tc\\x7f\\x9b"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("two\nlines", "two\\nlines"),
    ],
)
def test_control_characters_are_written_out(raw: str, shown: str) -> None:
    assert terminal.escaped(raw) == shown


def test_a_message_of_several_lines_is_indented(monkeypatch: pytest.MonkeyPatch) -> None:
    line = {
        "timestamp": "2026-11-23T12:00:00+00:00",
        "level": "ERROR",
        "message": "it broke\n  File x\n\x1b[31m",
    }
    first, *rest = terminal.log_line(line).split("\n")
    assert first.endswith("ERROR    it broke")
    assert rest == ["      File x", "    \\x1b[31m"]


def test_lists_of_objects_become_tables_and_the_rest_names_and_values() -> None:
    shown = terminal.result(
        {
            "totals": [
                {"issuer": "06117473000150", "total": "84.90"},
                {"issuer": "Ação", "total": "5780.00", "n": 2},
            ],
            "summary": {"ok": 2, "failed": [{"file": "a\n.xml"}], "tags": ["x", 1]},
            "note": "plain",
        }
    )
    assert shown.split("\n") == [
        "totals",
        "  issuer            total  n",
        "  06117473000150    84.90",
        "  Ação            5780.00  2",
        "",
        "summary.failed",
        "  file",
        "  a\\n.xml",
        "",
        "summary.ok: 2",
        'summary.tags: ["x", 1]',
        "note: plain",
    ]


def test_without_a_table_it_is_json() -> None:
    assert (
        terminal.result({"a": {"b": [1, 2]}, "esc": "\x1b"})
        == '{\n  "a": {\n    "b": [\n      1,\n      2\n    ]\n  },\n  "esc": "\\u001b"\n}'
    )


def test_a_long_cell_is_cut() -> None:
    assert terminal.table([{"message": "x" * 500}]).split("\n")[1] == "  " + "x" * 59 + "…"
