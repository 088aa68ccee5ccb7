"""What every component of a plugin has in common: a name, and settings that are its constructor's arguments."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any, ClassVar, Self

_signature = cache(inspect.signature)


class Component:
    """Base of everything a manifest can name with `use`.

    The constructor's arguments are the component's settings: annotate them, give them defaults, and describe them
    in the docstring under `Args:`. An instance remembers the settings it was made with, so that it can be recorded
    and made again.
    """

    name: ClassVar[str]
    settings: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        maker = next(base for base in cls.__mro__ if "__init__" in vars(base))
        settings: dict[str, Any] = {}
        if issubclass(maker, Component):  # else it has no constructor of its own, and nn.Module's takes anything
            # not of the class: before Python 3.11.4 that is the signature of this very function, if `maker` is a base
            try:
                bound = _signature(vars(maker)["__init__"]).bind(self, *args, **kwargs)
            except TypeError:  # copying and unpickling call without arguments and restore `settings` afterwards
                return self
            bound.apply_defaults()
            _, *named = bound.arguments.items()
            settings = dict(named)
        object.__setattr__(self, "settings", settings)  # nn.Module's own setattr is not ready yet
        return self

    @property
    def spec(self) -> dict[str, Any]:
        """The component as a part of a manifest: `use` and every setting."""
        return {"use": self.name, **self.settings}
