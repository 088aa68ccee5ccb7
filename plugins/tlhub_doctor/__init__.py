"""What can go wrong in an adaptation, as `tlhub doctor` looks for it."""

from __future__ import annotations

from tlhub.hookspecs import hookimpl


@hookimpl
def tlhub_symptoms() -> list[type]:
    from tlhub_doctor.collapse import Collapse
    from tlhub_doctor.idle_term import IdleTerm

    return [Collapse, IdleTerm]
