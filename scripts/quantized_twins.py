"""How alike the gradients of an INT8 network and of its float twin are, on photos: raw, and after a Gaussian blur with and without signs.

    python scripts/quantized_twins.py ../shared/zoo [--photos 10] [--sigma 4] [--only NAME]

A pair is a quantised file with its float file, a quantised file with itself without the grids of its activations, or a float file
with its own static quantisation by ONNX Runtime, calibrated on other photos. Both explain the class that the float network predicts.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

import onnxplain
from onnxplain.preprocess import Preprocessing

CROP = {"resize": "crop", "short_side": 256, "size": [224, 224]}
IMAGENET = Preprocessing(**CROP, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
PAIRS = {
    "mobilenetv2-torchvision-int8-qdq": ("mobilenetv2-zoo-fp32", IMAGENET),
    "mobilenetv2-tf-uint8-qdq": (None, Preprocessing(**CROP, layout="NHWC", scale=1 / 127.5, mean=1.0)),
}
"""Quantised file → float file, or None where its own grids are taken out."""
QUANTISED_HERE = {"squeezenet1.1-zoo-fp32": IMAGENET, "mobilenetv2-zoo-fp32": IMAGENET}


def pairs(folder: Path, calibration: list[Path], work: Path) -> Iterator[tuple[str, onnx.ModelProto, onnx.ModelProto, Preprocessing]]:
    """Name, quantised model, float model, and how both see a photo."""
    for name, (twin, preprocessing) in PAIRS.items():
        quantised = onnx.load(folder / f"{name}.onnx")
        yield (name, quantised, onnx.load(folder / f"{twin}.onnx"), preprocessing) if twin else (name, quantised, without_grids(quantised), preprocessing)
    for name, preprocessing in QUANTISED_HERE.items():
        path = folder / f"{name}.onnx"
        yield f"{name}, quantised here", quantised_here(path, calibration, preprocessing, work), onnx.load(path), preprocessing


def without_grids(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model whose activations are no longer rounded: QuantizeLinear and the DequantizeLinear behind it become Identity."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    rounded = set()
    for n in copy.graph.node:
        if n.op_type == "QuantizeLinear" or (n.op_type == "DequantizeLinear" and n.input[0] in rounded):
            rounded.update(n.output if n.op_type == "QuantizeLinear" else [])
            n.op_type = "Identity"
            del n.input[1:], n.attribute[:]
    del copy.graph.value_info[:]
    return copy


def quantised_here(path: Path, calibration: list[Path], preprocessing: Preprocessing, work: Path) -> onnx.ModelProto:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Photos(CalibrationDataReader):
        def __init__(self):
            name = onnx.load(path).graph.input[0].name
            self.feeds = iter([{name: photo(p, preprocessing)[None]} for p in calibration])

        def get_next(self):
            return next(self.feeds, None)

    quantize_static(str(path), str(work / path.name), Photos(), quant_format=QuantFormat.QDQ, per_channel=True, activation_type=QuantType.QUInt8)
    return onnx.load(work / path.name)


def photo(path: Path, preprocessing: Preprocessing) -> np.ndarray:
    return preprocessing.array(preprocessing.picture(path), np.dtype(np.float32))


def correlations(quantised: onnx.ModelProto, plain: onnx.ModelProto, photos: list[np.ndarray], sigma: float, layout: str) -> np.ndarray:
    """For each photo, Pearson's correlation of the gradients: raw, blurred, blurred sizes; and whether the class is the same."""
    explainers = [onnxplain.Explainer(m, "gradient") for m in (plain, quantised)]
    channel = layout.index("C") - 1
    rows = []
    for x in photos:
        whole = explainers[0].explain(x[None])
        maps = [np.moveaxis(e.attribution[0], channel, 0) for e in (whole, explainers[1].explain(x[None], target=whole.target))]
        blurred = [gaussian_filter(m, [0, sigma, sigma]) for m in maps]
        sizes = [gaussian_filter(np.abs(m).sum(0), sigma) for m in maps]
        same = explainers[1].explain(x[None]).target[0] == whole.target[0]
        rows.append([*(np.corrcoef(*(v.ravel() for v in pair))[0, 1] for pair in (maps, blurred, sizes)), float(same)])
    return np.array(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", type=Path, help="a folder with models/ and images/imagenet_sample/")
    parser.add_argument("--photos", type=int, default=10, help="how many photos (default 10)")
    parser.add_argument("--sigma", type=float, default=4.0, help="standard deviation of the blur in pixels (default 4)")
    parser.add_argument("--only", default="", help="only the pairs whose names hold this")
    options = parser.parse_args()
    files = sorted((options.zoo / "images" / "imagenet_sample").iterdir())
    shown, calibration = files[: options.photos], files[-20:]
    with tempfile.TemporaryDirectory() as work:
        for name, quantised, plain, preprocessing in tqdm(pairs(options.zoo / "models", calibration, Path(work)), total=len(PAIRS) + len(QUANTISED_HERE)):
            if options.only not in name:
                continue
            rows = correlations(quantised, plain, [photo(p, preprocessing) for p in shown], options.sigma, preprocessing.layout)
            told = [f"{what} {v.mean():.3f} ({v.min():.2f} to {v.max():.2f})" for what, v in zip(("raw", "blurred", "blurred sizes"), rows.T)]
            tqdm.write(f"{name:40s}{'  '.join(told)}  same class {rows[:, 3].mean():.0%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
