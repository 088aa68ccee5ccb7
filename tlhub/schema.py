"""The JSON Schema of manifests."""

from __future__ import annotations

from typing import Any

from tlhub.catalog import Catalog
from tlhub.manifest import Manifest, Train
from tlhub.parts import ROLES
from tlhub.settings import describe, model


def json_schema(catalog: Catalog) -> dict[str, Any]:
    """A JSON Schema (2020-12) of manifests with the components of a catalog, for editors to complete and check them."""
    definitions: dict[str, Any] = {}
    properties: dict[str, Any] = Manifest.model_json_schema()["properties"]
    properties["train"] = {"anyOf": [Train.model_json_schema(), {"type": "null"}]}
    for name, role in ROLES.items():
        definitions[name] = _part_schema(name, catalog, definitions)
        allowed: list[dict[str, Any]] = [{"$ref": f"#/$defs/{name}"}]
        if role.many:
            allowed.append({"type": "array", "items": allowed[0]})
        if not Manifest.model_fields[name].is_required():
            allowed.append({"type": "null"})
        properties[name] = {"anyOf": allowed, "description": Manifest.model_fields[name].description}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tlhub manifest",
        "type": "object",
        "properties": properties,
        "required": ["backbone"],
        "anyOf": [{"required": ["source"]}, {"required": ["target"]}],
        "additionalProperties": False,
        "$defs": definitions,
    }


def _part_schema(role_name: str, catalog: Catalog, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a part: a bare name, or a mapping whose keys depend on `use`; every component gets a definition."""
    role = ROLES[role_name]
    entries = catalog.entries(role.kind)
    names = [entry.name for entry in entries]
    core = role.part.model_json_schema()["properties"]
    without_settings, every_use, branches = [], [], []
    for entry in entries:
        uses = [entry.name] if names.count(entry.name) == 1 else []
        uses.append(f"{entry.plugin}/{entry.name}")
        key = f"{role_name}.{entry.plugin}.{entry.name}"
        settings = model(entry.cls).model_json_schema(ref_template=f"#/$defs/{key}.{{model}}")
        definitions |= {f"{key}.{inner}": schema for inner, schema in settings.pop("$defs", {}).items()}
        definitions[key] = {
            "description": describe(entry.cls).summary,
            "properties": {**core, **settings.get("properties", {})},
            "required": ["use", *settings.get("required", [])],
            "additionalProperties": False,
        }
        every_use += uses
        without_settings += [] if settings.get("required") else uses
        branches.append(
            {"if": {"properties": {"use": {"enum": uses}}, "required": ["use"]}, "then": {"$ref": f"#/$defs/{key}"}}
        )
    mapping = {"type": "object", "properties": {"use": {"enum": every_use}}, "required": ["use"], "allOf": branches}
    return {"anyOf": [{"enum": without_settings}, mapping if branches else False]}
