"""Pydantic models as JSON Schema, and examples made from them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

Schema: TypeAlias = dict[str, Any]
Mode: TypeAlias = Literal["validation", "serialization"]

PLACE = "#/components/schemas/{model}"


def schemas(models: Iterable[tuple[type[BaseModel], Mode]]) -> dict[str, Schema]:
    """The schemas of models and of the models in them, by name; a request's mode is `validation`."""
    unique = list(dict.fromkeys(models))
    _, defined = models_json_schema(unique, ref_template=PLACE)
    found: dict[str, Schema] = _without_titles(defined.get("$defs", {}))
    return found


def refer(name: str) -> Schema:
    """A reference to a schema."""
    return {"$ref": PLACE.format(model=name)}


def example(schema: Schema, known: dict[str, Schema]) -> Any:
    """A valid value, made of the examples of its parts. Optional parts without an example are left out."""
    if "$ref" in schema:
        return example(known[schema["$ref"].rpartition("/")[2]], known)
    for part in (schema, *schema.get("anyOf", ())):
        for given in ("examples", "enum"):
            if part.get(given):
                return part[given][0]
    for given in ("const", "default"):
        if given in schema:
            return schema[given]
    if "anyOf" in schema and "properties" not in schema:
        return example(schema["anyOf"][0], known)
    match schema.get("type"):
        case "object":
            return _example_object(schema, known)
        case "array":
            return [example(schema["items"], known)] if "items" in schema else []
        case "boolean":
            return False
        case "integer" | "number":
            return schema.get("minimum", 0)
        case _:
            return "text"


def _example_object(schema: Schema, known: dict[str, Schema]) -> Schema:
    if "patternProperties" in schema:
        return {"2026-11-24": example(next(iter(schema["patternProperties"].values())), known)}
    required = schema.get("required", ())
    return {
        name: example(part, known)
        for name, part in schema.get("properties", {}).items()
        if name in required or _has_example(part, known)
    }


def _has_example(schema: Schema, known: dict[str, Schema]) -> bool:
    parts = [schema, *schema.get("anyOf", ())]
    return any(
        "examples" in part or ("$ref" in part and _has_example(known[part["$ref"].rpartition("/")[2]], known))
        for part in parts
    )


def _without_titles(schemas: Any) -> Any:
    """Remove the titles by which pydantic repeats each field's name."""
    if isinstance(schemas, list):
        return [_without_titles(each) for each in schemas]
    if not isinstance(schemas, dict):
        return schemas
    return {
        name: _without_titles(part)
        for name, part in schemas.items()
        if not (name == "title" and isinstance(part, str))
    }
