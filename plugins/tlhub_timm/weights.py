"""Weights from a local file."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from tlhub.errors import SettingError
from tlhub.weights import read_weights

State = Mapping[str, Tensor]


def load_weights(net: Any, path: str, model: str) -> None:
    """Fill `net` from a safetensors file, whose classifier is left out if the network has none.

    Raises SettingError where a tensor is missing, unknown, or misshapen.
    """
    state = _without_classifier(net, _read(path))
    problem = _misfit(net, state)
    if problem:
        # timm's own conversion for the architecture: original names, position embeddings of another image size
        converted = _without_classifier(net, _converted(net, state))
        if _misfit(net, converted):
            raise SettingError(
                "weights", f"`{path}` does not fit `{model}`: {problem}", "is it a file of another model?"
            )
        state = converted
    net.load_state_dict(dict(state))


def classes_in(path: str, net: Any) -> int:
    """How many classes the linear classifier in a safetensors file tells apart; 0 where it holds none."""
    state = _read(path)
    for name in _classifiers(net):
        for each in (state, _converted(net, state)):
            if f"{name}.weight" in each and each[f"{name}.weight"].ndim == 2:
                return len(each[f"{name}.weight"])
    return 0


def _read(path: str) -> State:
    # counters of seen batches have other shapes in some files, and nothing depends on them
    return {key: value for key, value in read_weights(path).items() if not key.endswith("num_batches_tracked")}


def _without_classifier(net: Any, state: State) -> State:
    own, begin = net.state_dict(), tuple(f"{name}." for name in _classifiers(net))
    return {key: value for key, value in state.items() if key in own or not key.startswith(begin)}


def _classifiers(net: Any) -> tuple[str, ...]:
    names = net.pretrained_cfg.get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)


def _converted(net: Any, state: State) -> State:
    convert = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return state
    try:
        converted: State = convert(dict(state), net)
    except Exception:  # it is made for files of this architecture, and this may be none
        return state
    return converted


def _misfit(net: Any, state: State) -> str:
    """What keeps the weights from fitting, or nothing."""
    own = net.state_dict()
    # a counter that files of other frameworks lack, and that nothing of ours reads
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unknown = [key for key in state if key not in own]
    shapes = [
        f"{key} {list(state[key].shape)} instead of {list(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    kinds = {"missing": missing, "unknown": unknown, "of another shape": shapes}
    return "; ".join(f"{len(found)} {kind} ({_few(found)})" for kind, found in kinds.items() if found)


def _few(items: Sequence[str]) -> str:
    return ", ".join(items[:3]) + (", …" if len(items) > 3 else "")
