"""Classes that come in other shares in the target."""

from __future__ import annotations

from torch import Tensor

from tlhub.case import Case, When
from tlhub.shift import label_shares, total_variation
from tlhub.symptom import Finding, Symptom
from tlhub_doctor.features import distance, features, some
from tlhub_doctor.shares import known_labels, shares, source_labels

COUNTED = 0.25
"""Total variation of counted shares; data sets of the same classes that nobody balanced differ by up to 0.16."""

ESTIMATED = 0.3
"""Total variation of estimated shares; in runs whose shares are equal, the estimate is off by up to 0.24."""

CHANCE = 0.01
"""Counts that differ as much by chance more often than this tell nothing."""

FAR = 1.5
"""From this proxy A-distance on, the estimate counts for nothing: classes do not look alike in both domains."""


class LabelShift(Symptom):
    """Classes that come in other shares in the target than in the source.

    Shares are counted where the target shows its labels, or `evaluate` has some. Otherwise they are estimated by
    black-box shift estimation on the features before the adaptation (equations 3 and 4), which assumes that examples of
    a class look alike in both domains.
    """

    name = "label_shift"
    paper = "Lipton et al. 2018, arXiv:1802.03916"

    def examine(self, case: Case) -> Finding | None:
        labels = source_labels(case)
        if labels is None:
            return None
        assert case.after.classes is not None
        classes = len(case.after.classes)
        ours, known = shares(labels, classes), known_labels(case)
        if known is not None:
            how, theirs = f"in {known[0]}", shares(known[1], classes)
            ill = total_variation(ours, theirs) >= COUNTED and _chance(labels, known[1], classes) < CHANCE
        else:
            estimated = _estimated(case, labels, classes)
            if estimated is None:
                return None
            how, theirs = "in the target, as estimated", estimated
            ill = total_variation(ours, theirs) >= ESTIMATED
        most = int((theirs - ours).abs().argmax())
        measured = (
            f"The shares of the classes differ by {100 * total_variation(ours, theirs):.0f} in 100 examples. Most does "
            f"`{case.after.classes[most]}`: {100 * ours[most]:.0f} in 100 in the source, "
            f"{100 * theirs[most]:.0f} {how}."
        )
        if not ill:
            return self.fine(measured, "The classes come in similar shares.")
        return self.warning(
            measured,
            "This is label shift: what aligns all features pushes examples of frequent classes onto others.",
            "Prefer methods that look at the model's own answers, such as `mcc` or `pseudo_label`, or draw the source "
            "in the target's shares.",
        )


def _estimated(case: Case, labels: Tensor, classes: int) -> Tensor | None:
    """The shares in the target; None where they cannot be told."""
    when: When = "after" if case.before is None else "before"
    found, apart = features(case, when), distance(case, when)
    if found is None or apart is None or apart >= FAR:
        return None
    source, target = found
    return label_shares(source, some(labels), target, classes)


def _chance(first: Tensor, second: Tensor, classes: int) -> float:
    """How often label counts of one distribution differ as much (Pearson's chi-squared test)."""
    import torch
    from scipy.stats import chi2_contingency

    counts = torch.stack([labels.bincount(minlength=classes) for labels in (first, second)])
    return float(chi2_contingency(counts[:, counts.sum(0) > 0].numpy()).pvalue)
