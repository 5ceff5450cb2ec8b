import re

import pytest

from maestro_api.definitions import differing, name_for, other_managers, spec_fields

RESOURCE = {
    "metadata": {
        "managedFields": [
            {
                "manager": "maestro-api",
                "operation": "Apply",
                "fieldsV1": {"f:spec": {".": {}, "f:displayName": {}, "f:parameterSchema": {}}},
            },
            {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:spec": {"f:suspend": {}}}},
            {
                "manager": "maestro-operator",
                "operation": "Update",
                "subresource": "status",
                "fieldsV1": {"f:status": {"f:id": {}}},
            },
            {"manager": "labeler", "operation": "Apply", "fieldsV1": {"f:metadata": {"f:labels": {}}}},
        ]
    }
}


@pytest.mark.parametrize(
    ("wanted", "same"),
    [
        ({"b": [1.0, {"c": True}], "a": "x"}, True),
        ({"b": [1, {"c": 1}], "a": "x"}, False),
        ({"b": [True, {"c": True}], "a": "x"}, False),
        ({"b": [1, {"c": True}, 2], "a": "x"}, False),
        ({"b": [1, {"c": True}]}, False),
        (None, False),
    ],
)
def test_what_differs_does_so_as_json(wanted: object, same: bool) -> None:
    in_force = {"parameters": {"a": "x", "b": [1, {"c": True}]}, "other": 1}
    assert differing({"parameters": wanted}, in_force) == ({} if same else {"parameters": wanted})


def test_what_is_too_deep_to_compare_differs() -> None:
    deep: list[object] = []
    for _ in range(3000):
        deep = [deep]
    assert list(differing({"deep": deep}, {"deep": deep})) == ["deep"]


def test_who_owns_what() -> None:
    assert spec_fields(RESOURCE, "maestro-api") == {"displayName", "parameterSchema"}
    assert other_managers(RESOURCE) == {"kubectl-edit"}
    assert spec_fields({"metadata": {}}, "maestro-api") == set()


@pytest.mark.parametrize(
    ("title", "stem"),
    [
        ("Notas Fiscais: São Paulo", "notas-fiscais-sao-paulo"),
        ("  --x--  ", "x"),
        ("1 por dia", "a-1-por-dia"),
        ("請求書", "a"),
        ("x" * 255, "x" * 40),
        ("y" * 39 + " z", "y" * 39),
    ],
)
def test_a_name_is_the_titles_slug_with_a_random_end(title: str, stem: str) -> None:
    name = name_for(title)
    assert re.fullmatch(re.escape(stem) + r"-[a-z0-9]{5}", name)
    assert name != name_for(title)
