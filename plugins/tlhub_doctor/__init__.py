"""What can go wrong in an adaptation, as `tlhub doctor` looks for it."""

from __future__ import annotations

from tlhub.hookspecs import hookimpl


@hookimpl
def tlhub_symptoms() -> list[type]:
    from tlhub_doctor.batch_norm_drift import BatchNormDrift
    from tlhub_doctor.class_order import ClassOrder
    from tlhub_doctor.collapse import Collapse
    from tlhub_doctor.conflict import Conflict
    from tlhub_doctor.discriminator_blind import DiscriminatorBlind
    from tlhub_doctor.discriminator_explodes import DiscriminatorExplodes
    from tlhub_doctor.discriminator_wins import DiscriminatorWins
    from tlhub_doctor.domain_distance import DomainDistance
    from tlhub_doctor.dominated import Dominated
    from tlhub_doctor.few_target import FewTarget
    from tlhub_doctor.idle_term import IdleTerm
    from tlhub_doctor.inputs import Inputs
    from tlhub_doctor.label_shift import LabelShift
    from tlhub_doctor.missing_class import MissingClass
    from tlhub_doctor.no_shift import NoShift
    from tlhub_doctor.overfitting import Overfitting
    from tlhub_doctor.unlearnt_source import UnlearntSource

    return [
        BatchNormDrift,
        ClassOrder,
        Collapse,
        Conflict,
        DiscriminatorBlind,
        DiscriminatorExplodes,
        DiscriminatorWins,
        DomainDistance,
        Dominated,
        FewTarget,
        IdleTerm,
        Inputs,
        LabelShift,
        MissingClass,
        NoShift,
        Overfitting,
        UnlearntSource,
    ]
