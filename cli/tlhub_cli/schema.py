"""`tlhub schema`"""

from __future__ import annotations

from tlhub_cli import output


def schema() -> None:
    """Print the JSON Schema of manifests, with the settings of every installed component.

    Editors complete and check manifests with it: save it, and name it in the first line of a manifest as
    `# yaml-language-server: $schema=FILE`.
    """
    from tlhub.catalog import Catalog
    from tlhub.schema import json_schema

    output.facts(json_schema(Catalog.installed()))
