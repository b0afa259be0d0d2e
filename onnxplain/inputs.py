"""From files to a model's inputs: images, .npy, .npz and .csv."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError
from .model import Model
from .preprocess import Preprocessing
from .tape import Type

ARRAYS = (".npy", ".npz", ".csv")


@dataclass(frozen=True, eq=False)
class Batch:
    """What was read: the model's inputs, what to call each sample, and how to show it."""

    feeds: dict[str, np.ndarray]
    names: list[str] | None
    """None where only the question tells how many samples there are."""
    pictures: list[np.ndarray] | None = None
    features: list[str] | None = None


def read(paths: Sequence[str | Path], model: Model, preprocessing: Preprocessing) -> Batch:
    """Files of one sort as one batch: an image is a sample, .npy a sample or a batch, .csv a table with a sample a row, .npz a whole feed."""
    if not paths:
        raise InputError("no input files were given")
    files = [Path(p) for p in paths]
    for path in files:
        if not path.is_file():
            raise InputError(f"{path} is a folder, wanted a file" if path.is_dir() else f"no such file: {path}")
    sorts = {p.suffix.lower() if p.suffix.lower() in ARRAYS else "image" for p in files}
    if len(sorts) > 1:
        raise InputError(f"inputs must be of one sort, got {' and '.join(sorted(sorts))}")
    sort = sorts.pop()
    if sort == ".npz":
        return _from_npz(files, model)
    if len(model.inputs) != 1:
        raise InputError(f"the model has {len(model.inputs)} inputs ({', '.join(model.inputs)}): give one .npz file with an array for each")
    (name, wanted), pictures, features = next(iter(model.inputs.items())), None, None
    if sort == "image":
        pictures = [preprocessing.picture(p) for p in files]
        arrays = [_fitted(preprocessing.array(p, wanted.dtype or np.dtype(np.float32)), wanted, name) for p in pictures]
    elif sort == ".npy":
        arrays = [_fitted(load_array(p), wanted, name) for p in files]
    else:
        tables = [_table(p) for p in files]
        features = tables[0][1]
        arrays = [_rows(rows, wanted, name, p) for (rows, _), p in zip(tables, files)]
    if len({a.shape[1:] for a in arrays}) > 1:
        raise InputError(f"inputs differ in shape: {', '.join(f'{p.name} {list(a.shape[1:])}' for p, a in zip(files, arrays))}; a batch needs one shape")
    names = [p.name if len(a) == 1 else f"{p.name}[{i}]" for p, a in zip(files, arrays) for i in range(len(a))]
    return Batch({name: np.concatenate(arrays)}, names, pictures, features)


def _fitted(array: np.ndarray, wanted: Type, name: str) -> np.ndarray:
    """A sample or a batch as a batch: the missing batch axis is added, and pixels are laid out flat where the input is flat."""
    shape = wanted.shape
    if shape is None or _like(array.shape[1:], shape[1:]):
        return array
    inner = shape[1:]
    if _like(array.shape, inner):
        return array[None]
    if all(isinstance(d, int) for d in inner) and prod(inner) == array.size:  # type: ignore[arg-type]
        return array.reshape(1, *inner)  # type: ignore[arg-type]
    raise InputError(f"input {name!r}: got an array of shape {list(array.shape)}, wanted {wanted} or one sample of it")


def _like(got: Sequence[int], wanted: Sequence[Any]) -> bool:
    return len(got) == len(wanted) and all(g == w for g, w in zip(got, wanted) if isinstance(w, int))


def _rows(rows: np.ndarray, wanted: Type, name: str, path: Path) -> np.ndarray:
    """A table's rows as samples."""
    inner = list((wanted.shape or [None, None])[1:])
    known = [d for d in inner if isinstance(d, int)]
    if len(inner) - len(known) <= 1 and known and rows.shape[1] % prod(known) == 0 and (len(known) < len(inner) or rows.shape[1] == prod(known)):
        return rows.reshape(len(rows), *(d if isinstance(d, int) else -1 for d in inner))
    if len(inner) == 1 and not known:
        return rows
    raise InputError(f"{path.name} has {rows.shape[1]} columns; input {name!r} is {wanted}, which takes {prod(known) if known else 'another number'} in a row")


def _table(path: Path) -> tuple[np.ndarray, list[str] | None]:
    """A table of numbers and, if its first line is no numbers, the names of its columns."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a .csv file that can be read: {error}") from None
    header = None
    if lines and not any(_number(cell) for cell in lines[0]):
        header = [cell.strip() for cell in lines.pop(0)]
    if not lines:
        raise InputError(f"{path} holds no rows")
    for k, row in enumerate(lines, start=1 + (header is not None)):
        if len(row) != len(lines[0]):
            raise InputError(f"{path}, row {k}: {len(row)} columns, the rows above have {len(lines[0])}")
        bad = next((cell for cell in row if not _number(cell)), None)
        if bad is not None:
            raise InputError(f"{path}, row {k}: {bad!r} is not a number")
    return np.array([[float(cell) for cell in row] for row in lines]), header


def _number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def load_array(path: Path) -> Any:
    """What NumPy saved: an array, or from an .npz file arrays by name; pickles are refused."""
    if not path.is_file():
        raise InputError(f"no such file: {path}")
    try:
        loaded = np.load(path, allow_pickle=False)
    except Exception as error:
        raise InputError(f"{path} is not a {path.suffix} file that can be read: {str(error) or type(error).__name__}") from None
    several = path.suffix.lower() == ".npz"
    if several == isinstance(loaded, np.ndarray):
        raise InputError(f"{path} is not a {path.suffix} file: it holds {'one array, as .npy files do' if several else 'arrays by name, as .npz files do'}")
    return loaded


def _from_npz(files: Sequence[Path], model: Model) -> Batch:
    if len(files) > 1:
        raise InputError(f"one .npz file holds a whole batch, got {len(files)}")
    path = files[0]
    with load_array(path) as archive:
        try:
            arrays = {k: archive[k] for k in archive.files}
        except Exception as error:
            raise InputError(f"{path} is not a .npz file that can be read: {error}") from None
    if len(model.inputs) == 1 and len(arrays) == 1:
        arrays = dict(zip(model.inputs, arrays.values()))
    lacking = [n for n in model.inputs if n not in arrays]
    if lacking:
        raise InputError(f"{path.name} lacks the model's input {', '.join(map(repr, lacking))}; it holds {', '.join(map(repr, arrays)) or 'nothing'}")
    feeds = {n: arrays[n] if len(model.inputs) > 1 else _fitted(arrays[n], t, n) for n, t in model.inputs.items()}
    counts = {len(a) for a in feeds.values() if a.ndim}
    alike = len(counts) == 1 and all(t.shape is None or not t.shape or not isinstance(t.shape[0], int) or len(feeds) == 1 for t in model.inputs.values())
    return Batch(feeds, [path.name if counts == {1} else f"{path.name}[{i}]" for i in range(*counts)] if alike else None)
