"""The component `artifact`: going on from an adapted model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tlhub.artifact import Adapted, load
from tlhub.backbone import Backbone
from tlhub.lineage import Origin
from tlhub_registry.kept import pinned


class ArtifactBackbone(Backbone):
    """The backbone of an adapted model, with its weights: what it has learned is where the new training starts.

    Its neck and head are left behind: new ones are made for the task and the classes of the new data. What it reads,
    and which methods suit it, follows from the backbone that it was made with. The saved model stands for itself: it
    loads where the one it began with is gone.

    Args:
        ref: an entry of the registry, such as `digits-dann:3`; a model on the Hugging Face Hub,
            `hub:OWNER/NAME@COMMIT`; or the folder of a run. What is recorded is the version that was found.
    """

    name = "artifact"
    modality = ""
    word_settings: ClassVar[Mapping[str, Any]] = {}  # the adapted model's own say whether it sees words

    def __init__(self, ref: str) -> None:
        super().__init__()
        self._found: Adapted = load(ref, "cpu")
        self.settings["ref"] = pinned(ref, self._found)

    def resolved(self) -> Backbone:
        return self._found.model.backbone

    def origins(self) -> Sequence[Origin]:
        return [self._found.origin("backbone")]
