"""One adaptation as the doctor looks at it: its history, and what the models say of its examples, before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tlhub import artifact, manifest as manifests
from tlhub.artifact import Adapted
from tlhub.data import Domain, Role, one_class_each
from tlhub.errors import UserError
from tlhub.home import home
from tlhub.loader import workers
from tlhub.measure import outputs, side_by_side
from tlhub.run import open_role, with_targets

if TYPE_CHECKING:
    from tlhub.catalog import Catalog
    from tlhub.validator import Outputs

ROWS = 1_000
"""Of the examples of a role, at most so many are looked at, always the same."""

When = Literal["before", "after"]


class Case:
    """An adaptation that is over. Whatever has to be computed is when it is first asked for, and once.

    Attributes:
        after: the adapted model; `before`: its source-only baseline, where there is one.
        manifest: as recorded, every setting with its value.
        history: a row an epoch: `loss`, the mean of every term, and `measures`, by term what was measured of it.
    """

    def __init__(self, after: Adapted, before: Adapted | None, catalog: Catalog) -> None:
        self.after, self.before, self.catalog = after, before, catalog
        self.manifest: Mapping[str, Any] = after.record["manifest"]
        self.history: Sequence[Mapping[str, Any]] = after.record["history"]
        self._domains: dict[Role, list[Domain]] = {}
        self._seen: dict[tuple[When, Role], Outputs | None] = {}

    def domains(self, role: Role) -> list[Domain]:
        """The domains of a role, with labels where the manifest shows them, in the form that the model answers.

        Raises UserError where they cannot be opened any more.
        """
        if role not in self._domains:
            self._domains[role] = opened(self.after, role, self.catalog)
        return self._domains[role]

    def some(self, role: Role) -> list[Domain]:
        """At most `ROWS` examples of a role, of every domain as many, as far as it has them."""
        domains = self.domains(role)
        most = ROWS // max(1, len(domains))
        return [each.some(most, "case") for each in domains]

    def seen(self, when: When, role: Role) -> Outputs | None:
        """What a model says of `some` examples of a role; None where there is no such model, or no such example.

        With labels where all domains of the role show them.
        """
        if (when, role) not in self._seen:
            model = self.after if when == "after" else self.before
            found = None
            if model is not None:
                parts = [outputs(model.model, each, model.device, self._workers) for each in self.some(role)]
                found = side_by_side(parts)
            self._seen[when, role] = found
        return self._seen[when, role]

    @cached_property
    def one_class(self) -> bool:
        """Whether an example is of exactly one class, and the model answers with one."""
        source = self.seen("after", "source") or self.seen("after", "target")
        if source is None or self.after.classes is None or source.logits.ndim != 2:
            return False
        labels = source.labels
        return labels is None or one_class_each(labels)

    @cached_property
    def _workers(self) -> int:
        return workers("auto", self.after.device)


def opened(adapted: Adapted, role: Role, catalog: Catalog) -> list[Domain]:
    """The domains of a role in the manifest of an adapted model, with labels in the form that the model answers.

    Raises UserError where they cannot be opened any more.
    """
    recorded = adapted.record["manifest"]
    parts = {key: recorded[key] for key in ("backbone", "source", "target", "evaluate") if key in recorded}
    domains = open_role(manifests.from_dict(parts), catalog, role)
    return [with_targets(each, adapted.task).matched(adapted.classes or ()) for each in domains]


def baseline_of(adapted: Adapted, device: str | None, catalog: Catalog) -> Adapted | None:
    """The source-only baseline that an adapted model was compared with; None where it was with none.

    Raises UserError where it is not there any more.
    """
    name = (adapted.record.get("result") or {}).get("baseline")
    if name is None:
        return None
    folder = home() / "baselines" / Path(name).name
    if not folder.is_dir():
        raise UserError("the source-only baseline is not there any more: it was removed, or trained elsewhere")
    return artifact.load(folder, device, catalog)
