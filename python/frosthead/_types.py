"""What the package takes: texts, columns and tables."""

from collections.abc import Iterable
from typing import Protocol, TypeAlias

#: A text column, or both of pairs.
TextNames: TypeAlias = str | tuple[str, str]


class ArrowColumn(Protocol):
    """A column of Arrow: an array of pyarrow, a series of Polars."""

    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]: ...


class ArrowTable(Protocol):
    """A table (or a column) of Arrow: of pyarrow, Polars, DuckDB, pandas."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


#: Strings, or pairs of strings for a model that reads pairs.
Texts: TypeAlias = Iterable[str] | Iterable[tuple[str, str]] | ArrowColumn | ArrowTable
