"""What a plugin may offer.

A plugin is a module with some of these hooks, registered under the entry-point group `tlhub`. Every hook takes nothing
and returns a list of classes; a class carries the `name` that manifests use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from tlhub.adapter import Adapter
    from tlhub.backbone import Backbone
    from tlhub.data import Dataset
    from tlhub.head import Head
    from tlhub.score import TransferScore
    from tlhub.store import Store
    from tlhub.symptom import Symptom
    from tlhub.task import Task
    from tlhub.validator import Validator

hookspec = pluggy.HookspecMarker("tlhub")
hookimpl = pluggy.HookimplMarker("tlhub")


@hookspec
def tlhub_backbones() -> list[type[Backbone]]:  # type: ignore[empty-body]
    """Networks that turn inputs into features.

    A complete plugin module:

        import math
        import torch
        from tlhub.backbone import Backbone
        from tlhub.hookspecs import hookimpl

        class Plain:
            random = False

            def __call__(self, raw):
                return torch.as_tensor(raw, dtype=torch.float32)

        class Perceptron(Backbone):
            '''One hidden layer over vectors.

            Args:
                inputs: length of a vector.
                width: length of its features.
            '''

            name = "perceptron"
            modality = "vector"

            def __init__(self, inputs: int, width: int = 64) -> None:
                super().__init__()
                self.width = width
                self.layer = torch.nn.Linear(inputs, width)

            def forward(self, inputs):
                return self.layer(inputs).relu()

            def stages(self):
                return [["layer.weight", "layer.bias"]]

            def preprocess(self, train):
                return Plain()

        @hookimpl
        def tlhub_backbones():
            return [Perceptron]
    """


@hookspec
def tlhub_adapters() -> list[type[Adapter]]:  # type: ignore[empty-body]
    """Methods of transfer.

    A complete plugin module:

        from tlhub.adapter import Adapter, Need
        from tlhub.hookspecs import hookimpl

        class MeanGap(Adapter):
            '''Pulls the means of source and target features together.

            Args:
                strength: factor of the term in the loss.
            '''

            name = "mean_gap"
            needs = frozenset({Need.SOURCE, Need.TARGET})

            def __init__(self, strength: float = 1.0) -> None:
                super().__init__()
                self.strength = strength

            def penalty(self, step):
                gap = step.source.features.mean(dim=0) - step.target.features.mean(dim=0)
                return self.strength * gap.square().sum()

        @hookimpl
        def tlhub_adapters():
            return [MeanGap]
    """


@hookspec
def tlhub_datasets() -> list[type[Dataset]]:  # type: ignore[empty-body]
    """Sources of labelled examples with class names.

    A complete plugin module:

        from tlhub.data import Dataset, Examples
        from tlhub.hookspecs import hookimpl

        class Signs(Dataset):
            '''Numbers, and whether they are negative.

            Args:
                count: how many.
            '''

            name = "signs"
            modality = "vector"

            def __init__(self, count: int = 100) -> None:
                self.count = count

            def splits(self):
                return []

            def open(self, split, labels):
                numbers = [[float(n)] for n in range(-self.count // 2, self.count // 2)]
                signs = [int(number < 0) for [number] in numbers] if labels else None
                names = ("positive", "negative") if labels else None
                return Examples(numbers, signs, names, f"signs-{self.count}", "row {}".format)

        @hookimpl
        def tlhub_datasets():
            return [Signs]
    """


@hookspec
def tlhub_tasks() -> list[type[Task]]:  # type: ignore[empty-body]
    """Questions a model can answer: which head, which loss, which metrics.

    A complete plugin module:

        import torch
        from tlhub.head import Head
        from tlhub.hookspecs import hookimpl
        from tlhub.task import Task

        class Grade(Head):
            '''One number.

            Args:
                features: width of the features.
            '''

            name = "grade"

            def __init__(self, features: int) -> None:
                super().__init__()
                self.width = 1
                self.linear = torch.nn.Linear(features, 1)

            def forward(self, features):
                return self.linear(features)

        class Ranking(Task):
            '''Grades that are numbers from 0 upwards.'''

            name = "ranking"
            metric = "closeness"

            def head(self, features, classes):
                return Grade(features)

            def loss(self, logits, labels):
                return (logits[:, 0] - labels).abs()

            def score(self, logits, labels):
                return -(logits[:, 0] - labels).abs()

            def answer(self, logits, classes):
                return [{"grade": float(grade)} for [grade] in logits]

        @hookimpl
        def tlhub_heads():
            return [Grade]

        @hookimpl
        def tlhub_tasks():
            return [Ranking]
    """


@hookspec
def tlhub_heads() -> list[type[Head]]:  # type: ignore[empty-body]
    """Networks that stand between features and answer, rebuilt from their settings when a saved model is loaded.

    A complete plugin module:

        import torch
        from tlhub.head import Head
        from tlhub.hookspecs import hookimpl

        class Normalized(Head):
            '''Features of length one.

            Args:
                features: width of the features.
            '''

            name = "normalized"

            def __init__(self, features: int) -> None:
                super().__init__()
                self.width = features

            def forward(self, features):
                return torch.nn.functional.normalize(features)

        @hookimpl
        def tlhub_heads():
            return [Normalized]
    """


@hookspec
def tlhub_validators() -> list[type[Validator]]:  # type: ignore[empty-body]
    """Scores of a model without target labels, for choosing an epoch.

    A complete plugin module:

        from tlhub.adapter import Need
        from tlhub.hookspecs import hookimpl
        from tlhub.validator import Validator

        class SourceScore(Validator):
            '''The task's metric on source examples that training does not see.'''

            name = "source_score"

            needs = frozenset({Need.SOURCE})

            def score(self, task, seen):
                return float(task.score(seen.source.logits, seen.source.labels).mean())

        @hookimpl
        def tlhub_validators():
            return [SourceScore]
    """


@hookspec
def tlhub_scores() -> list[type[TransferScore]]:  # type: ignore[empty-body]
    """Scores that rank backbones for labelled examples before any training.

    A complete plugin module:

        from tlhub.hookspecs import hookimpl
        from tlhub.score import TransferScore

        class Nearest(TransferScore):
            '''The share of examples whose nearest neighbour is of their own class.'''

            name = "nearest"

            def score(self, given, labels):
                apart = (given[:, None] - given).square().sum(2).fill_diagonal_(float("inf"))
                return float((labels[apart.argmin(1)] == labels).double().mean())

        @hookimpl
        def tlhub_scores():
            return [Nearest]
    """


@hookspec
def tlhub_symptoms() -> list[type[Symptom]]:  # type: ignore[empty-body]
    """What can go wrong in an adaptation, and how it shows: what `tlhub doctor` looks for.

    A complete plugin module:

        from tlhub.hookspecs import hookimpl
        from tlhub.symptom import Symptom

        class Unlearnt(Symptom):
            '''A task loss that is as large in the last epoch as in the first.'''

            name = "unlearnt"

            def watch(self, history):
                if len(history) < 2:
                    return None
                first, last = (row["loss"]["task"] for row in (history[0], history[-1]))
                measured = f"The task loss went from {first:.3g} to {last:.3g}."
                if last < first:
                    return self.fine(measured, "The model learns.")
                return self.fault(measured, "The model does not learn.", "Raise `train.lr`.")

        @hookimpl
        def tlhub_symptoms():
            return [Unlearnt]
    """


@hookspec
def tlhub_stores() -> list[type[Store]]:  # type: ignore[empty-body]
    """Places that keep adapted models, and find them again by name.

    A complete plugin module:

        import shutil
        from pathlib import Path
        from tlhub.hookspecs import hookimpl
        from tlhub.store import Store

        ROOT = Path.home() / "models"

        class Shelf(Store):
            '''A folder of models, each found again as `shelf:name`.'''

            name = "shelf"
            places = "a model on the shelf, `shelf:name`"

            def keep(self, folder):
                shutil.copytree(folder, ROOT / folder.name, dirs_exist_ok=True)
                return f"kept as shelf:{folder.name}"

            def locate(self, place):
                return ROOT / place.removeprefix("shelf:") if place.startswith("shelf:") else None

        @hookimpl
        def tlhub_stores():
            return [Shelf]
    """
