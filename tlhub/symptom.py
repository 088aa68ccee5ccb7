"""What can go wrong in an adaptation, and how it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tlhub.component import Component

if TYPE_CHECKING:
    from tlhub.case import Case


@dataclass(frozen=True)
class Finding:
    """What was measured, what it means, and what to change.

    Attributes:
        symptom: the name of the symptom that was looked for.
        level: `fine`: nothing is wrong; `warning`: this may be why a model is worse than it could be; `fault`: as long
            as this is so, the result means little.
        measured: the measurement, as a sentence.
        meaning: what follows from it, as a sentence.
        mend: the setting to change, as a sentence; empty where all is fine.
    """

    symptom: str
    level: Literal["fine", "warning", "fault"]
    measured: str
    meaning: str
    mend: str = ""

    @property
    def ill(self) -> bool:
        """Whether there is something to mend."""
        return self.level != "fine"

    def __str__(self) -> str:
        return " ".join(filter(None, (self.measured, self.meaning, self.mend)))

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


class Symptom(Component):
    """Something that `tlhub doctor` looks for in an adaptation: implement `watch`, or `examine`.

    Class attributes:
        voids: whether scores mean nothing where it finds a fault, so that no adaptation counts as having helped then;
            it is looked for even where one seems to have.
        paper: the publication of what it measures, for `tlhub describe`.
    """

    voids: ClassVar[bool] = False
    paper: ClassVar[str] = ""

    def watch(self, history: Sequence[Mapping[str, Any]]) -> Finding | None:
        """What the history alone tells, so far; None where nothing does. It is asked after every epoch, too."""
        return None

    def examine(self, case: Case) -> Finding | None:
        """What there is to say of an adaptation that is over; None where it cannot have this symptom."""
        return self.watch(case.history)

    def fine(self, measured: str, meaning: str) -> Finding:
        """A measurement that gives no reason to worry."""
        return Finding(self.name, "fine", measured, meaning)

    def warning(self, measured: str, meaning: str, mend: str) -> Finding:
        """A measurement that may explain why a model is worse than it could be."""
        return Finding(self.name, "warning", measured, meaning, mend)

    def fault(self, measured: str, meaning: str, mend: str) -> Finding:
        """A measurement with which the result means little."""
        return Finding(self.name, "fault", measured, meaning, mend)
