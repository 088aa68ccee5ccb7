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
        try:
            bound = _signature(cls).bind(*args, **kwargs)  # type: ignore[arg-type]  # a class can be hashed
        except TypeError:  # copying and unpickling call without arguments and restore `settings` afterwards
            return self
        bound.apply_defaults()
        maker = next(base for base in cls.__mro__ if "__init__" in vars(base))
        if not issubclass(maker, Component):  # no constructor of its own: nn.Module's takes anything
            bound.arguments.clear()
        object.__setattr__(self, "settings", dict(bound.arguments))  # nn.Module's own setattr is not ready yet
        return self

    @property
    def spec(self) -> dict[str, Any]:
        """The component as a part of a manifest: `use` and every setting."""
        return {"use": self.name, **self.settings}
