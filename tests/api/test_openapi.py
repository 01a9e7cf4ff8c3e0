import re
from pathlib import Path

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig

from datarun_api.errors import REFUSALS
from datarun_api.openapi import ROLES

UNDOCUMENTED = {"documentation", "api-docs"}
"""Blueprints for people and tools: what they show is the document."""

ARGUMENT, BRACES = re.compile("<(?:[^:<>]+:)?([^<>]+)>"), r"{\1}"
"""How an argument of an address is written in Flask, and in the document."""

METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture
def document(app):
    return app.test_client().get("/openapi.json").json


def list_operations(document):
    return {
        f"{method.upper()} {path}": operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if method in METHODS
    }


def test_the_document_is_openapi_3_1(document):
    config = SchemathesisConfig.from_dict({"cache": {"enabled": False}})

    schemathesis.openapi.from_dict(document, config=config).validate()

    assert document["openapi"].startswith("3.1")


def test_every_call_is_in_the_document(app, document):
    calls = {
        f"{method} {ARGUMENT.sub(BRACES, rule.rule)}"
        for rule in app.url_map.iter_rules()
        if rule.endpoint.partition(".")[0] not in UNDOCUMENTED
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }

    assert calls == set(list_operations(document))


def test_every_operation_has_a_name_of_its_own_and_a_sentence(document):
    operations = list_operations(document).values()

    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert all(operation["summary"].endswith(".") for operation in operations)


def test_every_operation_says_who_may_call_it(document):
    for name, operation in list_operations(document).items():
        if name == "GET /health":
            assert operation["security"] == []
        else:
            assert operation["security"] == [{"basic": []}, {"bearer": []}]
            assert f"Roles: {', '.join(operation[ROLES])}." in operation["description"]
    assert set(document["components"]["securitySchemes"]) == {"basic", "bearer"}


def test_every_refusal_has_the_one_shape(document):
    refusals = document["components"]["responses"].values()
    named = [
        response
        for name, operation in list_operations(document).items()
        for status, response in operation["responses"].items()
        if status >= "4" and "$ref" not in response and name != "GET /health"
    ]

    for response in [*refusals, *named]:
        content = response["content"]["application/json"]
        assert content["schema"] == {"$ref": "#/components/schemas/Error"}


def test_no_operation_has_a_catch_all(document):
    statuses = {status for op in list_operations(document).values() for status in op["responses"]}

    assert "default" not in statuses
    assert {status for status in statuses if status >= "4"} == {str(int(s)) for s in REFUSALS}


def test_the_documentation_explains_every_refusal():
    page = (Path(__file__).parents[2] / "docs/api.md").read_text()
    _, _, table = page.partition("## Refusals")

    assert [status for status in REFUSALS if str(int(status)) not in table] == []


def test_every_field_has_an_example_or_says_its_values(document):
    """Describe a field by `schemas.describe`, whose second argument is an example."""
    bare = [
        f"{schema}.{field}"
        for schema, definition in document["components"]["schemas"].items()
        for field, described in definition.get("properties", {}).items()
        if not {"examples", "enum", "$ref", "anyOf"} & set(described)
        and described.get("type") != "boolean"
        and "$ref" not in described.get("items", {})
        and "enum" not in described.get("items", {})
    ]

    assert bare == []


def test_the_page_loads_nothing_from_elsewhere(app):
    client = app.test_client()

    page = client.get("/docs")

    addresses = re.findall(r'(?:src|href|data-url)="([^"]*)"', page.text)
    assert len(addresses) >= 5
    for address in addresses:
        answer = client.get(address)
        assert answer.status_code == 200
        answer.close()
    policy = page.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "<script>" not in page.text
