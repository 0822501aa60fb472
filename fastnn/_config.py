"""Small objects as plain data: initializers, schedules and their like turn into dictionaries and back.

What comes out holds only strings, numbers, lists and dictionaries: JSON can carry it, and so can a file's header.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np

Self = TypeVar("Self", bound="Configurable")


class Configurable:
    """Base of families of dataclasses that a file can name and restore.

    A direct subclass opens a family. Every class below it is entered in the table as "Family.Class", a user's own
    too, unless its name starts with an underscore.
    """

    _family: ClassVar[str]
    _table: ClassVar[dict[str, type[Configurable]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if Configurable in cls.__bases__:
            cls._family = cls.__name__
            return
        if cls.__name__.startswith("_"):
            return
        key = f"{cls._family}.{cls.__name__}"
        known = Configurable._table.get(key)
        if known is not None and known.__module__ != cls.__module__:  # a notebook's cell may define its class again
            raise TypeError(f"the name {key} is taken by {known.__module__}: rename the class")
        Configurable._table[key] = cls

    # Written once here, for they are the same for all: a frozen dataclass would compile its own, at every import.

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__ and not name.startswith("_"):
            raise dataclasses.FrozenInstanceError(f"{type(self).__name__}.{name} cannot be changed: make another")
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        raise dataclasses.FrozenInstanceError(f"{type(self).__name__}.{name} cannot be deleted")

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, each.name) for each in dataclasses.fields(self) if each.compare)  # type: ignore[arg-type]

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), self._values()))

    def __repr__(self) -> str:
        """As one would write it: only what differs from the default, keywords last."""
        declared = sorted(dataclasses.fields(self), key=lambda each: bool(each.kw_only))  # type: ignore[arg-type]
        values = [(each.name, getattr(self, each.name), each.default) for each in declared if each.repr]
        shown = [f"{name}={value!r}" for name, value, default in values if value != default]
        return f"{type(self).__name__}({', '.join(shown)})"

    def config(self) -> dict[str, Any]:
        """The object as plain data: {"type": "Family.Class", argument: value, ...}; see `from_config`."""
        arguments = [each.name for each in dataclasses.fields(self) if each.init]  # type: ignore[arg-type]
        values = {name: _plain(getattr(self, name)) for name in arguments}
        return {"type": f"{self._family}.{type(self).__name__}", **values}

    @classmethod
    def from_config(cls: type[Self], config: Mapping[str, Any]) -> Self:
        """The object that `config()` described.

        Raises
        ------
        ValueError
            If the description names no known class of this family, or its values do not fit the class.
        """
        arguments = dict(config)
        key = arguments.pop("type", None)
        kind = Configurable._table.get(key) if isinstance(key, str) else None
        if kind is None or not issubclass(kind, cls):
            known = sorted(name for name, each in Configurable._table.items() if issubclass(each, cls))
            raise ValueError(
                f"unknown {cls.__name__} {key!r}: expected one of {', '.join(known)}; "
                "a class of your own must be defined before the file is read"
            )
        try:
            return kind(**{name: _revived(value) for name, value in arguments.items()})
        except TypeError as error:
            raise ValueError(f"{key}: its description does not fit: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Configurable):
        return value.config()
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    return value.item() if isinstance(value, np.generic) else value


def _revived(value: Any) -> Any:
    if isinstance(value, Mapping) and "type" in value:
        return Configurable.from_config(value)
    return tuple(_revived(each) for each in value) if isinstance(value, list) else value
