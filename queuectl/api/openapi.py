"""The OpenAPI 3.1 document of the API, made of its operations and the structs of what goes over the wire."""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import UNSET

from queuectl import __version__
from queuectl.api.calls import JSON, Operation
from queuectl.api.logs import EVENTS
from queuectl.api.problems import MEDIA_TYPE, Problem

_REF = "#/components/schemas/{name}"
_ALWAYS = (403, 421, 503)  # another site's page or a read-only dashboard; another Host; a spool that cannot be used
_PARAMETERS = {
    "id": {"schema": {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"}, "description": "A whole id."},
    "key": {"schema": {"type": "string"}, "description": "A key of `queuectl config`."},
}


def document(operations: Iterable[Operation], *, token: bool) -> dict[str, Any]:
    """Return the document; with `token` every operation needs one."""
    every = list(operations)
    wire = [t for o in every for t in (o.body, *o.answers.values()) if t is not None and not isinstance(t, str)]
    found, components = msgspec.json.schema_components([*wire, Problem], ref_template=_REF)
    schemas = dict(zip(map(repr, wire), found, strict=False))
    paths: dict[str, dict[str, Any]] = {}
    for operation in every:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(operation, schemas, token)
    _describe_streams(paths, token)
    made: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "queuectl",
            "version": __version__,
            "description": "A job queue that is a directory of files. Enqueueing is running commands.",
        },
        "paths": paths,
        "components": {"schemas": components},
    }
    if token:
        made["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        made["security"] = [{"token": []}]
    return made


def _describe(operation: Operation, schemas: dict[str, Any], token: bool) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for status, shape in operation.answers.items():
        answers[str(status)] = _answer(status, shape, schemas)
        if operation.headers and status < 300:
            answers[str(status)]["headers"] = {
                name: {"description": text, "schema": {"type": "string"}} for name, text in operation.headers.items()
            }
    if operation.path == "/metrics":
        answers["200"]["content"]["text/plain"] = {"schema": {"type": "string"}}
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [*_path_parameters(operation.path), *_query_parameters(operation.query)],
        "responses": {**answers, **_problems({*operation.problems, *_ALWAYS, *_common(operation, token)})},
    }
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": {JSON: {"schema": schemas[repr(operation.body)]}}}
    return described


def _common(operation: Operation, token: bool) -> set[int]:
    found = {422}  # an unknown parameter
    if token:
        found.add(401)
    if operation.method != "GET":
        found |= {413, 507}
    return found


def _answer(status: int, shape: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if isinstance(shape, str):
        described["content"] = {shape: {"schema": {"type": "string"}}}
    elif shape is not None:
        described["content"] = {JSON: {"schema": schemas[repr(shape)]}}
    return described


def _problems(statuses: Iterable[int]) -> dict[str, Any]:
    schema = {"$ref": _REF.format(name=Problem.__name__)}
    return {
        str(status): {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in sorted(statuses)
    }


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, **_PARAMETERS[name]} for name in re.findall(r"{(\w+)}", path)
    ]


def _query_parameters(shape: type | None) -> list[dict[str, Any]]:
    if shape is None:
        return []
    (_,), components = msgspec.json.schema_components([shape], ref_template=_REF)
    properties = components[shape.__name__]["properties"]
    found = []
    for field in msgspec.structs.fields(shape):
        schema = properties[field.encode_name]
        options = schema.get("anyOf", [schema])
        kept = next(option for option in options if option.get("type") != "null")  # a query has no null
        found.append({"name": field.encode_name, "in": "query", "required": field.required, "schema": kept})
        if field.default not in (None, UNSET, msgspec.NODEFAULT):
            found[-1]["schema"] = {**kept, "default": field.default}
    return found


def _describe_streams(paths: dict[str, dict[str, Any]], token: bool) -> None:
    """Add the two streams, which no struct describes."""
    follow = "/api/v1/jobs/{id}/log/follow"
    for path, name, summary, problems in (
        ("/api/v1/events", "listen", "The overview, as a stream of events at every change", set[int]()),
        (follow, "followLog", "What a job prints, as a stream of events until it has ended", {404, 422}),
    ):
        parameters = _path_parameters(path)
        if path == follow:
            offset = {"type": "integer", "minimum": 0, "maximum": 10**17, "default": 0}
            parameters.append({"name": "from", "in": "query", "required": False, "schema": offset})
        paths[path] = {
            "get": {
                "operationId": name,
                "summary": summary,
                "tags": ["Streams"],
                "parameters": parameters,
                "responses": {
                    "200": {"description": "OK", "content": {EVENTS: {"schema": {"type": "string"}}}},
                    **_problems({*problems, *_ALWAYS, *({401} if token else ())}),
                },
            }
        }
