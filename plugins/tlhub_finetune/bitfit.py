"""Bias-term fine-tuning: BitFit."""

from __future__ import annotations

from tlhub.adapter import Adapter
from tlhub.errors import UserError
from tlhub.run import Run
from tlhub_finetune.pretrained import never_pretrained


class BitFit(Adapter):
    """Trains the biases of the backbone, the neck and the head, and keeps all else as it was pretrained.

    Ben Zaken et al. 2022, section 3. Biases are the parameters whose names end in `bias`, those of normalisation
    layers among them, as in the paper. They learn at `train.backbone_lr` of the learning rate; the paper's rates are
    about ten times those of full fine-tuning, so write `backbone_lr: 1.0`.

    Use it when many models of one network are to be kept, which differ in a thousandth of it, or examples are few.
    Cost: less than full fine-tuning: no gradients of weights, and an optimizer's state of biases alone.

    Deviations: batch norms, which the paper's networks have not, go on taking statistics, since their biases learn. Of
    transformers' classifiers, what lies between the pretrained encoder and the head learns as a whole.
    """

    name = "bitfit"
    paper = (
        "Ben Zaken et al. 2022, BitFit: Simple parameter-efficient fine-tuning for transformer-based masked "
        "language-models, arXiv:2106.10199"
    )

    def prepare(self, run: Run) -> None:
        backbone = run.model.backbone
        new = never_pretrained(backbone)
        pretrained = [(name, p) for name, p in backbone.named_parameters() if p not in new and ".lora_" not in name]
        if not any(name.endswith("bias") for name, _ in pretrained):
            raise UserError(f"`bitfit` has nothing to train: `{backbone.name}` has no biases", "try `lora`")
        run.model.freeze(parameter for name, parameter in pretrained if not name.endswith("bias"))

    def start_round(self, run: Run) -> None:
        biases = [p for name, p in run.model.backbone.named_parameters() if name.endswith("bias")]
        if not any(parameter.requires_grad for parameter in biases):
            raise UserError(
                "`bitfit` has nothing to train: another adapter froze all biases of the backbone",
                "remove `lora` or `partial_freeze`: `bitfit` keeps the other weights by itself",
            )
