"""Files appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from .errors import InputError

if TYPE_CHECKING:
    from .tape import Emitted


def require_folder(*paths: Path | None, inputs: Iterable[Path | None] = ()) -> None:
    """Refuse files whose folder is missing, those that are wanted, and such as are read: before the work that they are to hold."""
    read = {p.resolve() for p in inputs if p is not None}
    for path in paths:
        if path is not None and not path.parent.is_dir():
            raise InputError(f"cannot write {path}: no such folder {path.parent}")
        if path is not None and path.resolve() in read:
            raise InputError(f"cannot write {path}: it is read by the same command; give another name")


def require_npz(path: Path, option: str) -> None:
    """Refuse a name that NumPy would add to."""
    if path.suffix != ".npz":
        raise InputError(f"{option} {path}: wanted a name that ends in .npz")


def npz_path(path: str | os.PathLike[str]) -> Path:
    """The name that NumPy gives a file of arrays."""
    path = Path(path)
    return path if path.suffix == ".npz" else path.with_name(path.name + ".npz")


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends well and removed when it does not."""
    path = Path(path)
    require_folder(path)
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder")
    temporary = path.with_name(f".{path.stem}.{uuid4().hex}{path.suffix}")
    try:
        temporary.open("xb").close()
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_model(emitted: Emitted, path: str | os.PathLike[str]) -> None:
    """Write an emitted model as one self-contained file."""
    if emitted.nbytes >= 2**31:
        raise InputError(f"cannot save {path}: {emitted.nbytes / 2**30:.1f} GiB of weights do not fit into one ONNX file, which ends at 2 GiB")
    with replacing(path) as temporary:
        temporary.write_bytes(emitted.to_proto().SerializeToString())
