"""`tlhub doctor`"""

from __future__ import annotations

from tlhub_cli import findings, output
from tlhub_cli.options import Device, Json, Place, located


def doctor(model: Place, device: Device = None, json: Json = False) -> None:
    """Look for what went wrong in an adaptation: what was measured, what it means, and which setting to change.

    The models are shown their data again. It is no failure of the command if something is found.
    """
    from tlhub.catalog import Catalog
    from tlhub.doctor import diagnose

    found, notes = diagnose(located(model), device, Catalog.installed())
    screen = output.screen(json)
    output.notes(notes, screen)
    findings.diagnosis(screen, found)
    if json:
        output.facts({"findings": [each.as_dict() for each in found], "notes": notes})
