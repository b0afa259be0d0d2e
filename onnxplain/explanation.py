"""The result: attributions with what they explain."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError, one_line
from .files import npz_path, replacing
from .widen import BFLOAT16


@dataclass(frozen=True, eq=False)
class Explanation:
    """What a method says of some inputs.

    Attributes
    ----------
    attributions : dict of arrays
        For each attributed tensor an array of its shape; of class activation maps, one map [N, 1, *space].
    output : dict of arrays
        The model's outputs for these inputs; one that is a sequence of maps is a list of dicts.
    target : int64 array [N] or [N, rank − 1], or a float array
        The explained elements (−2: the sum over that axis), or the weights that were given.
    method : str
    params : dict
    delta : float array [N] or None ([1] where the batch shares an attributed tensor)
        Completeness residual: sum of the attributions minus what they promise to add up to.
    """

    attributions: dict[str, np.ndarray]
    output: dict[str, Any]
    target: np.ndarray
    method: str
    params: Mapping[str, Any] = field(default_factory=dict)
    delta: np.ndarray | None = None
    inputs: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    @property
    def attribution(self) -> np.ndarray:
        """The attribution, where there is only one."""
        if len(self.attributions) != 1:
            raise InputError(f"there are {len(self.attributions)} attributions ({', '.join(self.attributions)}): take one from .attributions")
        return next(iter(self.attributions.values()))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to an .npz file."""
        arrays = {f"attribution:{k}": v for k, v in self.attributions.items()}
        arrays |= {f"output:{k}": v for k, v in self.output.items() if isinstance(v, np.ndarray)} | {f"input:{k}": v for k, v in self.inputs.items()}
        maps = {k: [list(row.items()) for row in v] for k, v in self.output.items() if not isinstance(v, np.ndarray)}
        arrays["target"] = self.target
        if self.delta is not None:
            arrays["delta"] = self.delta
        narrow = [k for k, v in arrays.items() if v.dtype == BFLOAT16]  # NumPy's files know neither these nor Python's texts
        arrays |= {k: arrays[k].astype(np.float32) for k in narrow} | {k: v.astype(np.str_) for k, v in arrays.items() if v.dtype == object}
        facts = json.dumps({"method": self.method, "params": self.params, "bfloat16": narrow, "maps": maps}, default=jsonable)
        with replacing(npz_path(path)) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, facts=np.array(facts), **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Explanation:
        """Read what `save` wrote."""
        path = Path(path)
        path = path if path.is_file() else npz_path(path)
        if not path.is_file():
            raise InputError(f"no such file: {path}")
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = dict(archive)
            facts = json.loads(str(arrays.pop("facts")))
            arrays |= {k: arrays[k].astype(BFLOAT16) for k in facts.get("bfloat16", ())}

            def group(prefix: str) -> dict[str, np.ndarray]:
                return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}

            output = group("output:") | {k: [dict(map(tuple, row)) for row in v] for k, v in facts.get("maps", {}).items()}
            return cls(group("attribution:"), output, arrays["target"], facts["method"], facts["params"], arrays.get("delta"), group("input:"))
        except Exception as error:  # what a broken archive raises is of many kinds
            raise InputError(f"{path} is not an explanation that onnxplain saved: {one_line(error)}") from None

    def plot(self, **options: Any) -> Any:
        """Draw the attribution of one sample on Matplotlib's axes; the options are those of `onnxplain.plot.show`."""
        from .plot import show

        return show(self, **options)

    def _repr_html_(self) -> str:
        """What a notebook shows: the facts, and a picture of the first samples."""
        from .plot.notebook import page

        return page(self)


def jsonable(value: Any) -> Any:
    """What JSON lacks: arrays as lists, long ones as a word about them."""
    if isinstance(value, np.ndarray):
        return value.tolist() if value.size <= 64 else f"array {list(value.shape)}"
    if isinstance(value, np.generic):
        return value.item()
    return str(value)
