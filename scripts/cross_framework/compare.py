"""Explain what the exporters wrote, and show that the maps agree: python scripts/cross_framework/compare.py FOLDER [PICTURE.png]

Of each network (mlp, convnet) the first file is the reference, torch-script. Printed is the largest difference of any file's map from
the reference's, relative to the reference's largest magnitude; more than LIMIT is a failure.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from skimage.io import imread

import onnxplain

ROOT = Path(__file__).resolve().parents[2]
METHODS: dict[str, dict[str, Any]] = {"gradient": {}, "lrp": {"composite": "epsilon"}, "integrated_gradients": {}}
DIGITS = (3, 5, 8)
LIMIT = 1e-4


def maps(path: Path, x: np.ndarray) -> dict[str, np.ndarray]:
    """Each method's maps of x [N, 28, 28], in the same shape, whatever the model's layout."""
    model = onnxplain.load(path)
    shape = next(iter(model.inputs.values())).shape
    return {m: onnxplain.explain(model, x.reshape(len(x), *shape[1:]), m, **params).attribution.reshape(x.shape) for m, params in METHODS.items()}


def picture(found: dict[str, dict[str, np.ndarray]]) -> Figure:
    """The first digit's maps: a row for each network and method, a column for each exporter; a row shares its scale of colours."""
    networks, exporters = (list(dict.fromkeys(name.split("-", 1)[k] for name in found)) for k in (0, 1))
    rows = [(network, m) for network in networks for m in METHODS]
    figure = Figure((1.5 * len(exporters), 1.5 * len(rows)), layout="constrained")
    for (network, m), cells in zip(rows, figure.subplots(len(rows), len(exporters))):
        shown = {e: found[f"{network}-{e}"][m][0] for e in exporters if f"{network}-{e}" in found}
        top = max(np.abs(a).max() for a in shown.values())
        cells[0].set_ylabel(f"{network}\n{m.replace('_', ' ')}", fontsize="small")
        for exporter, ax in zip(exporters, cells):
            ax.set(xticks=[], yticks=[], frame_on=exporter in shown)
            if exporter in shown:
                ax.imshow(shown[exporter], cmap="RdBu_r", vmin=-top, vmax=top)
            if (network, m) == rows[0]:
                ax.set_title(exporter, fontsize="small")
    return figure


def main() -> None:
    folder = Path(sys.argv[1])
    x = np.stack([imread(ROOT / "models" / "digits" / f"{k}.png") for k in DIGITS]).astype(np.float32) / 255
    found = {path.stem: maps(path, x) for path in sorted(folder.glob("*.onnx"), reverse=True)}
    worst = 0.0
    print("| file |", " | ".join(METHODS), "|")
    print("| --- |", " | ".join("---" for _ in METHODS), "|")
    for name, values in found.items():
        reference = next(v for other, v in found.items() if other.split("-")[0] == name.split("-")[0])
        apart = [np.abs(values[m] - reference[m]).max() / np.abs(reference[m]).max() for m in METHODS]
        worst = max(worst, *apart)
        print(f"| {name} |", " | ".join(f"{a:.1e}" for a in apart), "|")
    if len(sys.argv) > 2:
        picture(found).savefig(sys.argv[2], dpi=60)
    if worst > LIMIT:
        sys.exit(f"the maps differ by {worst:.1e}")


if __name__ == "__main__":
    main()
