"""The OpenAPI document, and that the API does what it says: schemathesis asks whatever the document allows."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from api.caller import HOST, Caller
from hypothesis import HealthCheck, given, settings

from queuectl.api import app, openapi
from queuectl.api.door import Door
from queuectl.job import Job
from queuectl.queue import Queue

with warnings.catch_warnings():  # its own imports warn
    warnings.simplefilter("ignore")
    requests = pytest.importorskip("requests", reason="it comes with schemathesis: pip install 'queuectl[test]'")
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is missing: pip install 'queuectl[test]'")

# A long run: QUEUECTL_TEST_EXAMPLES=500 python -m pytest tests/api/test_openapi.py
EXAMPLES = int(os.environ.get("QUEUECTL_TEST_EXAMPLES", "12"))
CHECKS = [
    getattr(schemathesis.checks, name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    )
]
STREAMS = ("/api/v1/events", "/api/v1/jobs/{id}/log/follow")  # do not end while the job has not
DOCUMENT = openapi.document(app.operations(), token=False)
schema = schemathesis.openapi.from_dict(DOCUMENT)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """A door on a spool that all examples share."""
    queue = Queue(tmp_path_factory.mktemp("fuzz") / "spool", create=True)
    for number in range(4):
        queue.enqueue("true", id=f"job-{number}")
    queue.cancel("job-0")
    caller = Caller(Door(queue.path))
    yield caller
    caller.door.close()


def send(caller: Caller, case: Any) -> Any:
    """Ask what schemathesis has made up, and return the answer in the form that it checks."""
    asked = case.as_transport_kwargs(base_url=f"http://{HOST}")
    wanted = {
        key: asked[key] for key in ("method", "url", "params", "headers", "cookies", "data", "json") if key in asked
    }
    prepared = requests.Request(**wanted).prepare()
    body = prepared.body if isinstance(prepared.body, bytes) else (prepared.body or "").encode()
    headers = {name.lower(): value for name, value in prepared.headers.items()}
    headers = {name: value.decode("latin-1") if isinstance(value, bytes) else value for name, value in headers.items()}
    answer = caller.ask(prepared.method, prepared.path_url, content=body, headers={**headers, "host": HOST}, raw=True)
    told = {name: [value] for name, value in answer.headers.items()}
    return schemathesis.Response(answer.status, told, answer.content, prepared, elapsed=0.0, verify=False)


def forbids(described: dict[str, Any]) -> bool:
    """Say whether a request of an operation can be wrong: in a path, any word is a string."""
    return "requestBody" in described or any(p["schema"] != {"type": "string"} for p in described["parameters"])


def cases() -> list[Any]:
    """Return what is to be asked: of each operation what is allowed, and what is forbidden where anything is."""
    found = []
    for operation in (result.ok() for result in schema.get_all_operations()):
        described = DOCUMENT["paths"][operation.path][operation.method.lower()]
        modes = ["positive", "negative"] if forbids(described) else ["positive"]
        if operation.path not in STREAMS:
            found += [pytest.param(mode, operation, id=f"{mode} {operation.label}") for mode in modes]
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("mode", "operation"), cases())
def test_no_answer_is_one_that_the_document_does_not_tell(fuzzed: Caller, operation: Any, mode: str) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode)))
    def ask(case: Any) -> None:
        case.validate_response(send(fuzzed, case), checks=CHECKS)

    ask()


def test_every_operation_is_asked_what_it_allows_and_but_for_words_in_paths_what_it_forbids() -> None:
    asked = {case.id for case in cases()}
    every = {f"{method.upper()} {path}" for path, methods in DOCUMENT["paths"].items() for method in methods}
    streams = {f"GET {path}" for path in STREAMS}
    free = {"DELETE /api/v1/config/{key}"}  # has nothing but a word in its path
    plain = {f"GET /api/v1/{name}" for name in ("overview", "counts", "workers", "pause", "config")} | {"GET /metrics"}
    assert asked == {f"positive {name}" for name in every - streams} | {
        f"negative {name}" for name in every - streams - free - plain
    }


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [operation["operationId"] for methods in DOCUMENT["paths"].values() for operation in methods.values()]
    assert len(names) == len(set(names)) > 15


def test_a_whole_job_is_described_by_the_struct_of_its_file() -> None:
    described = DOCUMENT["components"]["schemas"]["Job"]
    assert list(described["properties"]) == list(Job.__struct_fields__)
    assert described == msgspec.json.schema_components([Job], ref_template="#/components/schemas/{name}")[1]["Job"]


def test_a_door_with_a_token_says_so() -> None:
    described = openapi.document(app.operations(), token=True)
    assert described["security"] == [{"token": []}]
    assert "401" in described["paths"]["/api/v1/jobs"]["get"]["responses"]


def test_the_document_is_served(api: Caller) -> None:
    assert api.get("/openapi.json") == DOCUMENT
    assert api.ask("GET", "/docs").status == 200
