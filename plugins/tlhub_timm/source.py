"""The classifier that a pretrained network came with."""

from __future__ import annotations

from typing import Any

from torch import nn

from tlhub_timm.create import Recipe
from tlhub_timm.native import reads_features_only
from tlhub_timm.weights import classes_in, load_weights


def source_head(net: Any, recipe: Recipe, model: str, weights: str | None) -> nn.Linear | None:
    """The last layer of the network with its pretrained weights, or those of a file.

    None where there is no classifier among them, or it is more than one linear layer on the features of `net`.
    """
    import timm

    if weights is None:
        whole: Any = timm.create_model(model, pretrained=True, **recipe.args)
    else:
        classes = classes_in(weights, net)
        if not classes:
            return None
        whole = timm.create_model(recipe.architecture, num_classes=classes, **recipe.args)
        load_weights(whole, weights, model)
    classifier = whole.get_classifier() if hasattr(whole, "get_classifier") else None
    if isinstance(classifier, nn.Linear) and reads_features_only(whole, classifier, recipe):
        return classifier
    return None
