"""Values that match a JSON Schema of the description, and any other JSON."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Schema = dict[str, Any]
Values = st.SearchStrategy[Any]

ANY_JSON: Values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def values(schema: Schema, known: dict[str, Schema], formats: dict[str, Values]) -> Values:
    """Values that match a schema. `known`: the document's schemas; `formats`: strings for each format."""
    if "$ref" in schema:
        return values(known[schema["$ref"].rpartition("/")[2]], known, formats)
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    for name in ("anyOf", "oneOf"):
        if name in schema:
            return st.one_of(*(values(each, known, formats) for each in schema[name]))
    low, high = schema.get("minimum"), schema.get("maximum")
    match schema["type"]:
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(low, high)
        case "number":
            return st.floats(low, high, allow_nan=False, allow_infinity=False)
        case "string":
            return _strings(schema, formats)
        case "array":
            least = schema.get("minItems", 0)
            return st.lists(values(schema["items"], known, formats), min_size=least, max_size=least + 2)
        case "object":
            properties = schema.get("properties", {})
            fields = {name: values(each, known, formats) for name, each in properties.items()}
            required = {name: fields.pop(name) for name in schema.get("required", ())}
            return st.fixed_dictionaries(required, optional=fields)
    raise AssertionError(f"no strategy for {schema}")


def _strings(schema: Schema, formats: dict[str, Values]) -> Values:
    if "format" in schema:
        return formats[schema["format"]]
    low, high = schema.get("minLength", 0), schema.get("maxLength")
    text = st.characters(exclude_categories=["Cs"])  # a lone surrogate isn't text
    if "pattern" not in schema:
        return st.text(text, min_size=low, max_size=high)
    fitting = st.from_regex(schema["pattern"], fullmatch=True, alphabet=text)
    return fitting.filter(lambda value: low <= len(value) <= (high or len(value)))
