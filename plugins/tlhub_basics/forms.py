"""The forms labels come in, and the error where a task cannot learn from one."""

from __future__ import annotations

from enum import StrEnum

from torch import Tensor

from tlhub.errors import DataError


class Form(StrEnum):
    """What labels say, in the words of an error."""

    CLASS = "one class for each example"
    CLASSES = "any number of classes for each example"
    WORDS = "one class for each word"
    NUMBER = "a number for each example"


def form(labels: Tensor) -> Form:
    """The form of labels, as `tlhub.Examples` tells them apart."""
    if labels.is_floating_point():
        return Form.NUMBER if labels.ndim == 1 else Form.CLASSES
    return Form.CLASS if labels.ndim == 1 else Form.WORDS


def require(wanted: Form, labels: Tensor, task: str) -> None:
    """Raise a DataError where labels are of another form than the one that `task` learns from."""
    found = form(labels)
    if found is not wanted:
        raise DataError(
            f"the task `{task}` learns from {wanted}, and the labels are {found}",
            "remove `task` from the manifest, so that the one that fits is taken, or name another column of labels",
        )
