"""The parts of a manifest: components by name with their settings, and which key of a manifest names which kind."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from tlhub.catalog import Kind
from tlhub.faults import STRICT
from tlhub.splits import parse_split

Name = Annotated[str, Field(min_length=1)]


def _checked_split(text: str) -> str:
    parse_split(text)
    return text


class Part(BaseModel):
    """A component by name; every other key is a setting of it."""

    model_config = ConfigDict({**STRICT, "extra": "allow"})

    use: Name = Field(description="Name of the component, or `plugin/name` where two plugins offer that name.")

    @property
    def settings(self) -> dict[str, Any]:
        """The component's own settings, as given."""
        return dict(self.model_extra or {})


class DomainPart(Part):
    """A data set in a role."""

    labels: Literal["all", "none"] = Field(
        default="all",
        description="Whether labels are shown; hidden ones are never read.",
    )
    split: Annotated[str, AfterValidator(_checked_split)] | None = Field(
        default=None, description="Which examples: `train`, `test[:100]`, `train[:10%]`, `train+validation`."
    )
    classes: dict[str, str | None] | None = Field(
        default=None, description="The data set's class name to the run's name for it; null leaves its examples out."
    )
    test_ratio: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.2,
        description="Share of the split `test`, where the data set has no splits of its own.",
    )
    split_seed: Annotated[int, Field(ge=0)] = Field(default=0, description="Seed of the split made by `test_ratio`.")


class TargetPart(DomainPart):
    """A data set to adapt to; its labels are hidden unless the manifest shows them."""

    labels: Literal["all", "none"] = Field(
        default="none", description="Whether labels are shown; hidden ones are never read."
    )


class EvaluatePart(DomainPart):
    """Labelled examples for the final score, opened after training."""

    labels: Literal["all"] = Field(default="all", description="A score needs the labels.")


class Role(NamedTuple):
    """What a key of the manifest names."""

    kind: Kind
    part: type[Part]
    many: bool = False


ROLES = {
    "backbone": Role("backbones", Part),
    "source": Role("datasets", DomainPart, many=True),
    "target": Role("datasets", TargetPart, many=True),
    "evaluate": Role("datasets", EvaluatePart, many=True),
    "task": Role("tasks", Part),
    "adapters": Role("adapters", Part, many=True),
    "select": Role("validators", Part),
}
