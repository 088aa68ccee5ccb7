"""tlhub: adapt pretrained models to your own data.

`tlhub.adapt("manifest.yaml")` does what the command of that name does; `tlhub.load(folder)` loads what it left. What
a plugin author needs is here too: `Adapter`, `Backbone`, `Dataset`, `Head`, `Task`, `Validator`, `Store`, `Need` and
`hookimpl`. Everything is imported when it is asked for, so that `import tlhub` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tlhub.adaptation import adapt as adapt, evaluate as evaluate
    from tlhub.adapter import Adapter as Adapter, Need as Need
    from tlhub.artifact import Adapted as Adapted, load as load
    from tlhub.backbone import Backbone as Backbone
    from tlhub.data import Dataset as Dataset, Examples as Examples
    from tlhub.errors import DataError as DataError, SettingError as SettingError, UserError as UserError
    from tlhub.head import Head as Head
    from tlhub.hookspecs import hookimpl as hookimpl
    from tlhub.lineage import Origin as Origin
    from tlhub.score import TransferScore as TransferScore
    from tlhub.seeds import adapt_seeds as adapt_seeds
    from tlhub.step import Step as Step, View as View
    from tlhub.store import Store as Store
    from tlhub.task import Task as Task
    from tlhub.validator import Evidence as Evidence, Validator as Validator

_WHERE = {
    "tlhub.adaptation": ["adapt", "evaluate"],
    "tlhub.adapter": ["Adapter", "Need"],
    "tlhub.artifact": ["Adapted", "load"],
    "tlhub.backbone": ["Backbone"],
    "tlhub.data": ["Dataset", "Examples"],
    "tlhub.errors": ["DataError", "SettingError", "UserError"],
    "tlhub.head": ["Head"],
    "tlhub.hookspecs": ["hookimpl"],
    "tlhub.lineage": ["Origin"],
    "tlhub.step": ["Step", "View"],
    "tlhub.score": ["TransferScore"],
    "tlhub.seeds": ["adapt_seeds"],
    "tlhub.store": ["Store"],
    "tlhub.task": ["Task"],
    "tlhub.validator": ["Evidence", "Validator"],
}
_MODULE_OF = {name: module for module, names in _WHERE.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'tlhub' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULE_OF])
