"""Rows in a file that survive a kill: what was measured is on the disk, whole rows or none, and is not measured again."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import CodeType, FunctionType, TracebackType
from typing import Any

import numpy as np

from ..errors import InputError
from ..explanation import jsonable
from ..files import replacing, require_folder
from ..methods import Method

SETTINGS = "settings"
"""The column with a digest of how a row was measured."""
Row = dict[str, Any]


def digest(settings: Any) -> str:
    """A short digest of settings, the same in every process."""
    return hashlib.sha256(json.dumps(_said(settings), sort_keys=True).encode()).hexdigest()[:12]


def _said(value: Any, above: tuple[int, ...] = ()) -> Any:
    """What JSON can say of a value: of arrays a digest, of objects their fields, of functions their name, their code and what they close over."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if id(value) in above:
        return "itself"  # such as a function that calls itself
    parts = lambda v: _said(v, (*above, id(value)))
    if isinstance(value, Mapping):
        return {str(k): parts(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [parts(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted(json.dumps(parts(v)) for v in value)
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.shape, parts(value.tolist()) if value.dtype == object else hashlib.sha256(value.tobytes()).hexdigest()]
    if isinstance(value, CodeType):
        return [value.co_code.hex(), value.co_names, parts(value.co_consts)]
    if isinstance(value, FunctionType):
        closed = [cell.cell_contents for cell in value.__closure__ or ()]
        return [value.__module__, value.__qualname__, parts([value.__code__, value.__defaults__, value.__kwdefaults__, closed])]
    if is_dataclass(value) and not isinstance(value, type):
        own = value.whole if isinstance(value, Method) else {f.name: getattr(value, f.name) for f in fields(value)}
        return [type(value).__qualname__, parts(own)]
    return jsonable(value)


class Store:
    """Rows, told apart by their `keys`; in memory, or in a .csv or .parquet file that is taken up where it was left.

    Rows are appended to the .csv as they come; the first one makes it. A .parquet file is written when the work ends (which needs pyarrow); until then
    they lie in a .csv beside it.
    """

    def __init__(self, path: str | os.PathLike[str] | None, keys: Sequence[str], columns: Sequence[str]) -> None:
        self.path = Path(path) if path is not None else None
        self.keys, self.columns = tuple(keys), (*columns, SETTINGS)
        self._rows: dict[tuple[str, ...], Row] = {}
        self._file: io.FileIO | None = None
        if self.path is not None:
            self._open(self.path)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()
        if self._journal not in (None, self.path) and kind is None:
            self._write_parquet()

    def has(self, settings: str, **key: Any) -> bool:
        """Whether a row is there already.

        Raises
        ------
        InputError
            It was measured with other settings.
        """
        row = self._rows.get(self._key(key))
        if row is not None and row[SETTINGS] != settings:
            told = ", ".join(f"{k} {v}" for k, v in key.items())
            raise InputError(f"{self.path} holds {told}, measured with another model, other data or other parameters: name another file")
        return row is not None

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Keep rows, each with its settings: when this returns they are on the disk."""
        new = [{c: row.get(c) for c in self.columns} for row in rows]
        if self._journal is not None:
            self._file = self._file or self._begun(self._journal)
            self._file.write(_lines(row.values() for row in new))
            os.fsync(self._file.fileno())
        self._rows.update({self._key(row): row for row in new})

    def get(self, **key: Any) -> Row:
        """One row, without its settings."""
        return {k: v for k, v in self._rows[self._key(key)].items() if k != SETTINGS}

    def _key(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(_cell(row[k]) for k in self.keys)

    # ---- files ----

    @property
    def _journal(self) -> Path | None:
        """The file that rows are appended to."""
        if self.path is None or self.path.suffix == ".csv":
            return self.path
        return self.path.with_name(self.path.name + ".csv")

    def _open(self, path: Path) -> None:
        if path.suffix not in (".csv", ".parquet"):
            raise InputError(f"cannot write {path}: results go to a .csv or .parquet file")
        require_folder(path)
        if path.suffix == ".parquet":
            _parquet()
            if path.is_file():
                rows = _parquet().read_table(path).to_pylist()
                if rows and set(rows[0]) != set(self.columns):
                    raise InputError(f"cannot take up {path}: it holds something else; name another file")
                self._take(rows)
        journal = self._journal
        assert journal is not None
        try:
            text = journal.read_bytes() if journal.is_file() else b""
            header = write_csv([], self.columns)
            if not text.startswith(header) and not header.startswith(text):
                raise InputError("it holds something else")
            whole = text[: text.rfind(b"\n") + 1] or header  # a row that was cut off is measured again
            self._take(_read(whole))
            if journal.is_file():
                os.truncate(journal, len(whole) if whole is not header else 0)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"cannot take up {journal}: {error}; name another file") from None

    def _begun(self, journal: Path) -> io.FileIO:
        """The file of rows, open behind its header and the rows that it has."""
        try:
            file = open(journal, "ab", buffering=0)  # noqa: SIM115  (closed on exit)
        except OSError as error:
            raise InputError(f"cannot write {journal}: {error.strerror}") from None
        file.write(b"" if file.tell() else write_csv([], self.columns))
        return file

    def _take(self, rows: Sequence[Row]) -> None:
        self._rows.update({self._key(row): row for row in rows})

    def _write_parquet(self) -> None:
        assert self.path is not None and self._journal is not None
        parquet = _parquet()
        import pyarrow  # pyright: ignore[reportMissingImports]  (optional)

        with replacing(self.path) as temporary:
            parquet.write_table(pyarrow.Table.from_pylist(list(self._rows.values())), temporary)
        self._journal.unlink(missing_ok=True)


def _parquet() -> Any:
    try:
        import pyarrow.parquet as parquet  # pyright: ignore[reportMissingImports]  (optional)
    except ImportError:
        raise InputError("a .parquet file needs pyarrow (pip install pyarrow); a .csv file needs nothing") from None
    return parquet


# ---- CSV: numbers and lists as JSON, so that they come back as they were ----

NUMBERS = ("value", "depth", "at", "curve", "area")
"""The columns that do not hold text."""


def write_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> bytes:
    """Rows as a table with a header; by default with all their columns."""
    columns = columns or list(dict.fromkeys(c for row in rows for c in row))
    return _lines([columns, *([row.get(c) for c in columns] for row in rows)])


def _lines(rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_cell(v) for v in row] for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    """A value on one line."""
    if value is None:
        return ""
    return value.replace("\n", " ") if isinstance(value, str) else json.dumps(value, default=jsonable)


def _read(text: bytes) -> list[Row]:
    rows = csv.DictReader(io.StringIO(text.decode(), newline=""))
    return [{k: (json.loads(v) if v else None) if k in NUMBERS else v for k, v in row.items()} for row in rows]
