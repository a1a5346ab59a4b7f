"""OpenAPI 3.1, made from the route tables: every operation, its answers and its errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiohttp import web
from pydantic import BaseModel

from chat_api import __version__, errors
from chat_api.description import event_schemas, problems, texts
from chat_api.description.declare import (
    EVENT_ID,
    EVENT_STREAM,
    Handler,
    Operation,
    Parameter,
    Response,
    declared,
)
from chat_api.description.openai_events import OPENAI_EVENT
from chat_api.description.schemas import Mode, Schema, example, refer, schemas
from chat_api.responses.problems import PATHS
from chat_api.responses.problems import status as openai_status

CONVERSATION_ID = Parameter("path", "id", "The conversation's id.", {"type": "string", "format": "uuid"})
TRACE_ID = Parameter(
    "header",
    "X-Trace-Id",
    "An id of yours for this request, 1 to 128 of `A-Za-z0-9._:/+=-`: the answer and every log line carry "
    "it. Another one, or none, is replaced by a new one. `X-Request-Id` does too.",
    {"type": "string"},
)
RESPONSE_HEADERS = {
    "X-Trace-Id": {
        "description": "The id of this request in the service's log: tell it when you report a problem.",
        "required": True,
        "schema": {"type": "string"},
    }
}
EVENT: Schema = {
    "type": "object",
    "description": texts.EVENT,
    "required": ["id", "data"],
    "properties": {
        "id": {**EVENT_ID, "description": "Send the last one as `Last-Event-ID` to continue after it."},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": refer("EventData"),
        },
    },
    "examples": [{"id": f"{event_schemas.GENERATION}:1", "data": '{"token":"Boil","gpu":0}'}],
}


def openapi(
    tables: Iterable[Iterable[Any]], is_public: Callable[[Handler], bool], more: Mapping[str, str]
) -> Schema:
    """The document. Routes that declare nothing are no part of the API; `more` describes paths further."""
    routes = [
        (route.method.lower(), re.sub(r":[^{}]+}", "}", route.path), route.handler, operation)
        for table in tables
        for route in table
        if isinstance(route, web.RouteDef) and (operation := declared(route.handler)) is not None
    ]
    known = _schemas(operation for _, _, _, operation in routes)
    paths: dict[str, Schema] = {}
    for method, path, handler, operation in routes:
        paths.setdefault(path, {})[method] = _operation(
            path, handler, operation, is_public(handler), known, more.get(path, "")
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "samosaChaat chat API",
            "version": __version__,
            "summary": "Conversations, and answers that stream and are never lost.",
            "description": texts.INFO,
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        # From /api/openapi.json up to what lies before /api: right below a base path too.
        "servers": [{"url": "..", "description": "the service that this document comes from"}],
        "tags": [{"name": name, "description": says} for name, says in texts.TAGS.items()],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(known.items())),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": texts.BEARER},
                "ticket": {"type": "apiKey", "in": "query", "name": "ticket", "description": texts.TICKET},
            },
        },
    }


def _schemas(operations: Iterable[Operation]) -> dict[str, Schema]:
    models: list[tuple[type[BaseModel], Mode]] = [(model, "serialization") for model in event_schemas.DATA]
    for operation in operations:
        if operation.body is not None:
            models.append((operation.body, "validation"))
        for answer in operation.answers:
            models += [(each, "serialization") for each in answer.contents if not isinstance(each, str)]
    return {
        **schemas(models),
        **problems.SCHEMAS,
        "Event": EVENT,
        "EventData": {"anyOf": [refer(model.__name__) for model in event_schemas.DATA]},
    }


def _operation(
    path: str, handler: Handler, operation: Operation, is_public: bool, known: dict[str, Schema], more: str
) -> Schema:
    described: Schema = {
        "operationId": f"{handler.__module__.rpartition('.')[2]}_{handler.__name__}",
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": f"{operation.says}\n\n{more}" if more else operation.says,
        "parameters": _parameters(path, operation),
        "responses": {
            **{answer.status: _answer(answer, known, path) for answer in operation.answers},
            **_errors(path, operation, is_public, {answer.status for answer in operation.answers}),
        },
    }
    if is_public or operation.security != ("bearer",):
        described["security"] = [] if is_public else [{name: []} for name in operation.security]
    if operation.body is not None:
        schema = refer(operation.body.__name__)
        described["requestBody"] = {
            "required": operation.body_required,
            "content": {"application/json": {"schema": schema, "example": example(schema, known)}},
        }
    return described


def _parameters(path: str, operation: Operation) -> list[Schema]:
    listed = [CONVERSATION_ID] if "{id}" in path else []
    written = [_parameter(each) for each in [*listed, *operation.parameters, TRACE_ID]]
    if operation.query is not None:
        fields = schemas([(operation.query, "validation")])[operation.query.__name__]["properties"]
        for name, schema in fields.items():
            says = schema.pop("description")
            # A query has no null: it is left out.
            (kind,) = (each for each in schema.pop("anyOf", [{}]) if each.get("type") != "null")
            if schema.get("default", 0) is None:
                del schema["default"]
            written.append({"name": name, "in": "query", "description": says, "schema": {**schema, **kind}})
    return written


def _parameter(parameter: Parameter) -> Schema:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.place == "path",
        "description": parameter.says,
        "schema": dict(parameter.schema),
        **({} if parameter.example is None else {"example": parameter.example}),
    }


def _answer(answer: Response, known: dict[str, Schema], path: str) -> Schema:
    contents: dict[str, Schema] = {}
    for content in answer.contents:
        if not isinstance(content, str):
            contents["application/json"] = _media(refer(content.__name__), known)
        elif content == EVENT_STREAM and path.startswith(PATHS):
            contents[content] = {"schema": OPENAI_EVENT}
        elif content == EVENT_STREAM:
            contents[content] = _media(refer("Event"), known)
        else:
            contents[content] = {"schema": {"type": "object" if content.endswith("json") else "string"}}
    return {
        "description": answer.says,
        "headers": RESPONSE_HEADERS,
        **({"content": contents} if contents else {}),
    }


def _media(schema: Schema, known: dict[str, Schema]) -> Schema:
    return {"schema": schema, "example": example(schema, known)}


def _errors(path: str, operation: Operation, is_public: bool, answered: set[str]) -> dict[str, Schema]:
    kinds: list[type[errors.ChatError]] = [*operation.errors, errors.ChatError]
    if not is_public:
        kinds += problems.SIGNED_IN
    if "{id}" in path:
        kinds.append(errors.ConversationNotFound)
    if operation.body is not None:
        kinds += problems.READS_BODY
    if operation.query is not None:
        kinds.append(errors.Invalid)
    for_openai = path.startswith(PATHS)
    status_of = {kind: openai_status(problems.sample(kind)) if for_openai else kind.status for kind in kinds}
    return {
        str(status): problems.response(
            sorted({kind for kind in kinds if status_of[kind] == status}, key=lambda kind: kind.code),
            RESPONSE_HEADERS,
            for_openai=for_openai,
        )
        for status in sorted(set(status_of.values()))
        if str(status) not in answered
    }
