"""Rows as users get them: tuples that also know their columns by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any, ClassVar, SupportsIndex, TypeVar, overload
from uuid import UUID

from cenote.errors import Error

T = TypeVar("T")

_PLAIN = (int, float, str, bytes, Decimal, UUID, Enum)


class Row(tuple[Any, ...]):
    """One row: a tuple, with its columns also by name, ``row["title"]`` or ``row.title``.

    Of columns with the same name the first counts. Columns called ``count`` or ``index``, as every
    tuple's methods are, and such as begin with an underscore, are reached by ``row["count"]`` only.
    """

    __slots__ = ()

    _index: ClassVar[dict[str, int]] = {}
    _columns: ClassVar[tuple[str, ...]] = ()

    @overload
    def __getitem__(self, key: SupportsIndex | str, /) -> Any: ...
    @overload
    def __getitem__(self, key: slice, /) -> tuple[Any, ...]: ...
    def __getitem__(self, key: SupportsIndex | slice | str, /) -> Any:
        """Get a column by position or name, or several by a slice."""
        if isinstance(key, str):
            position = self._index.get(key)
            if position is None:
                raise KeyError(f"{key!r}; the columns are {', '.join(self._columns)}")
            return tuple.__getitem__(self, position)
        return tuple.__getitem__(self, key)

    def __getattr__(self, name: str) -> Any:
        position = self._index.get(name)
        if position is None:
            raise AttributeError(f"row has no column {name!r}; the columns are {', '.join(self._columns)}")
        return tuple.__getitem__(self, position)

    def keys(self) -> tuple[str, ...]:
        """Return the names of the columns, so that ``dict(row)`` works."""
        return self._columns

    def as_dict(self) -> dict[str, Any]:
        """Return the columns by name."""
        return {name: tuple.__getitem__(self, position) for name, position in self._index.items()}

    def __repr__(self) -> str:
        pairs = (f"{name}={value!r}" for name, value in zip(self._columns, self, strict=True))
        return f"Row({', '.join(pairs)})"

    def __reduce__(self) -> tuple[Callable[..., Row], tuple[tuple[str, ...], tuple[Any, ...]]]:
        return _rebuild, (self._columns, tuple(self))


@lru_cache(maxsize=1024)
def row_class(names: tuple[str, ...]) -> type[Row]:
    """Make the class for rows with these columns; making a row of it is as cheap as making a tuple."""
    index = {name: position for position, name in reversed(list(enumerate(names)))}
    ordered = {name: index[name] for name in names}
    return type("Row", (Row,), {"__slots__": (), "_index": ordered, "_columns": names})


def _rebuild(names: tuple[str, ...], values: tuple[Any, ...]) -> Row:
    return row_class(names)(values)


def converter(cls: type[T], names: tuple[str, ...]) -> Callable[[tuple[Any, ...]], T]:
    """Make the function that turns a row with these columns into a `cls`.

    A dataclass gets its fields by name, whatever the order; columns that it has no field for are left
    out. A class that is no dataclass gets all columns as keyword arguments. `int`, `str` and the like
    take the only column there is, and so do classes made from them.

    Raises:
        Error: the result lacks a field that has no default, or has several columns for one plain value.
    """
    if dataclasses.is_dataclass(cls):
        fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
        missing = [name for name, field in fields.items() if name not in names and _is_required(field)]
        if missing:
            raise Error(
                f"as_type: the result has no column {', '.join(map(repr, missing))} for {cls.__name__}; "
                f"its columns are {', '.join(names)}"
            )
        chosen = [(name, position) for position, name in enumerate(names) if name in fields]
        return lambda row: cls(**{name: row[position] for name, position in chosen})
    if cls.__module__ == "builtins" or issubclass(cls, _PLAIN):
        if len(names) != 1:
            raise Error(
                f"as_type: {cls.__name__} takes one column, the result has {len(names)}: {', '.join(names)}"
            )
        plain: Callable[[Any], T] = cls
        return lambda row: plain(row[0])
    return lambda row: cls(**dict(zip(names, row, strict=True)))


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def converted(rows: Iterable[tuple[Any, ...]], convert: Callable[[tuple[Any, ...]], T]) -> Iterator[T]:
    """Convert rows as they are read."""
    return map(convert, rows)
