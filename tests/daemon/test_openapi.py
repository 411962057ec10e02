"""The API's own description: complete, valid, and its examples are what the wire takes."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema_rs
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31

from geard import catalog
from geard.daemon.openapi import document, parts
from geard.daemon.pages import PAGES
from geard.daemon.refusing import STATUS
from geard.daemon.table import Entry, entries
from geard.dispatch.operation import all_operations
from geard.exchange import Session
from geard.failures import KINDS
from geard.request import Answer, answer_type, stream_item
from geard.transport.wire import parse, path_fields
from geard.words import decode


def rooms_entries() -> list[Entry]:
    catalog.load()
    return entries(kind for kind in all_operations() if kind.__module__.startswith("geard."))


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    # as it is read by others
    found: dict[str, Any] = json.loads(json.dumps(document(rooms_entries(), PAGES, STATUS)))
    return found


ENTRIES = pytest.mark.parametrize("entry", rooms_entries(), ids=lambda entry: entry.name)


def resolved(described: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in found:
        place: Any = described
        for part in found["$ref"].removeprefix("#/").split("/"):
            place = place[part]
        found = place
    return found


def validator(described: dict[str, Any], schema: dict[str, Any]) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for({**schema, "components": described["components"]})


def test_every_route_is_described_and_nothing_else(described: dict[str, Any]) -> None:
    told = {f"{method.upper()} {path}" for path, methods in described["paths"].items() for method in methods}
    assert told == {entry.name for entry in rooms_entries()} | {f"GET {page.path}" for page in PAGES}


def test_every_reference_leads_somewhere(described: dict[str, Any]) -> None:
    found = set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(described)))
    assert len(found) > 40
    for reference in found:
        resolved(described, {"$ref": reference})


def test_every_schema_is_one(described: dict[str, Any]) -> None:
    for name, schema in described["components"]["schemas"].items():
        jsonschema_rs.meta.validate({**schema, "$schema": "https://json-schema.org/draft/2020-12/schema"})
        validator(described, {"$ref": f"#/components/schemas/{name}"})


def test_the_official_schema_of_openapi_3_1_has_nothing_to_say(described: dict[str, Any]) -> None:
    official = jsonschema_rs.Draft202012Validator(OPENAPI_31)
    assert [str(error) for error in official.iter_errors(described)] == []
    broken = {**described, "paths": {"/docs": {"get": {"parameters": [{"name": "x"}]}}}}
    assert not official.is_valid(broken)


def test_it_has_what_openapi_3_1_asks_of_a_document(described: dict[str, Any]) -> None:
    assert described["openapi"].startswith("3.1.")
    assert {"title", "version"} <= described["info"].keys()
    ids = [operation["operationId"] for path in described["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids))
    for path, methods in described["paths"].items():
        for operation in methods.values():
            parameters = [resolved(described, each) for each in operation["parameters"]]
            assert len({(each["name"], each["in"]) for each in parameters}) == len(parameters)
            in_path = {each["name"] for each in parameters if each["in"] == "path"}
            assert in_path == set(re.findall(r"{(\w+)}", path))
            assert all(each["required"] for each in parameters if each["in"] == "path")
            assert all({"name", "in", "schema"} <= each.keys() for each in parameters)
            assert operation["summary"], path
            for code, response in operation["responses"].items():
                assert re.fullmatch(r"[1-5]\d\d", code)
                assert resolved(described, response)["description"]
            schemes = {name for choice in operation["security"] for name in choice}
            assert schemes <= described["components"]["securitySchemes"].keys()


@ENTRIES
def test_the_example_of_a_request_is_one_the_wire_takes(described: dict[str, Any], entry: Entry) -> None:
    operation = described["paths"][entry.route.path][entry.method.lower()]
    in_path = {name: entry.request.example.get(name.title(), "web-1") for name in path_fields(entry.route)}
    body, query = b"", dict[str, str]()
    if "requestBody" in operation and not entry.request.archive:
        content = operation["requestBody"]["content"]["application/json"]
        validator(described, content["schema"]).validate(content["example"])
        body = json.dumps(content["example"]).encode()
        assert content["example"] or not content["schema"].get("required")
    else:
        names = {each.get("name", "").lower() for each in operation["parameters"]}
        query = {k: str(v) for k, v in entry.request.example.items() if k.lower() not in in_path}
        assert {key.lower() for key in query} <= names
    made = parse(entry.request, in_path, query, body)
    assert isinstance(made, entry.request)


@ENTRIES
def test_every_field_of_a_request_is_told_and_no_other(described: dict[str, Any], entry: Entry) -> None:
    operation = described["paths"][entry.route.path][entry.method.lower()]
    told = {each["name"].lower() for each in operation["parameters"] if "name" in each}
    if "requestBody" in operation and not entry.request.archive:
        told |= {
            key.lower() for key in operation["requestBody"]["content"]["application/json"]["schema"]["properties"]
        }
    fields = {name.replace("_", "") for name in entry.request.__struct_fields__}
    if "parts" in fields:
        fields = fields - {"parts"} | {key.lower() for key in parts()}
    assert told == fields


@ENTRIES
def test_scope_failures_and_forms_are_told(described: dict[str, Any], entry: Entry) -> None:
    operation = described["paths"][entry.route.path][entry.method.lower()]
    assert operation["x-scope"] == entry.route.scope
    assert {"400", "401", "403", "404", "429", "500", "503"} <= operation["responses"].keys()
    answer = answer_type(entry.request)
    names = {each.get("$ref", "").rpartition("/")[2] for each in operation["parameters"]}
    assert "RequestId" in names
    if answer is Session:
        assert {"101", "200" if entry.request.archive else "426"} <= operation["responses"].keys()
        return
    assert ("Follow" in names) == entry.route.mutates
    content = operation["responses"]["200"]["content"]
    assert "application/x-ndjson" in content
    assert ("application/json" in content) == (stream_item(answer) is None)
    events = json.dumps(content["application/x-ndjson"]["x-itemSchema"])
    assert ('"Item"' in events, '"Answer"' in events) == (
        stream_item(answer) is not None,
        stream_item(answer) is None,
    )
    assert ('"Progress"' in events) == entry.route.mutates


def test_every_kind_of_failure_is_told_with_its_status(described: dict[str, Any]) -> None:
    told = {
        kind: int(name.removeprefix("Status"))
        for name, response in described["components"]["responses"].items()
        for kind in response["x-kinds"]
    }
    assert told.keys() == {name for name, kind in KINDS.items() if kind in STATUS and name != "Failure"} - {
        "WrongMethod",
        "UpgradeRequired",
    }
    assert (told["NotFound"], told["Full"], told["Bug"]) == (404, 503, 500)
    for response in described["components"]["responses"].values():
        content = response["content"]["application/json"]
        validator(described, content["schema"]).validate(content["example"])


def test_the_examples_of_answers_are_answers(described: dict[str, Any]) -> None:
    kinds: set[type[Answer]] = {kind for kind in Answer.__subclasses__() if kind.__module__.startswith("geard.")}
    shown = [kind for kind in kinds if kind.example]
    assert len(shown) >= 5
    for kind in shown:
        assert decode(kind, json.dumps(kind.example)).text() is not None
        validator(described, {"$ref": f"#/components/schemas/{kind.__name__}"}).validate(dict(kind.example))


def test_what_a_field_means_is_told(described: dict[str, Any]) -> None:
    install = described["paths"]["/container/{id}"]["put"]["requestBody"]["content"]["application/json"]["schema"]
    assert install["properties"]["StopTimeout"]["description"] == "seconds between TERM and KILL"
    assert "absent, the ports that the image exposes" in install["properties"]["Ports"]["description"]
