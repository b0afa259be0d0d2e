"""Rows for ops/sampling.py and ops/regions.py."""

from itertools import product

import numpy as np
from check_vjp import case

rng = np.random.default_rng(0)
f32 = lambda *shape: rng.standard_normal(shape).astype(np.float32)
CASES = {}

for mode, padding, align in product(["nearest", "linear", "cubic"], ["zeros", "border", "reflection"], [0, 1]):
    grid = rng.uniform(-2.6, 2.6, (2, 3, 5, 2)).astype(np.float32)
    given = {"mode": mode, "padding_mode": padding, "align_corners": align, "oracle": "ort"}
    CASES[f"GridSample-2d-{mode}-{padding}-{align}"] = case("GridSample", f32(2, 3, 4, 6), grid, **given)
    if mode != "cubic":
        CASES[f"GridSample-3d-{mode}-{padding}-{align}"] = case(
            "GridSample", f32(2, 2, 4, 3, 5), rng.uniform(-2.6, 2.6, (2, 2, 3, 2, 3)).astype(np.float32), **given
        )
CASES["GridSample-one-pixel"] = case(
    "GridSample", f32(1, 1, 1, 4), f32(1, 2, 2, 2), padding_mode="reflection", align_corners=1, mode="linear", oracle="ort", settings=[1]
)

for group, offset_group, masked, biased in product([1, 2], [1, 2], [False, True], [False, True]):
    x, w, offset = f32(2, 4, 5, 6), f32(6, 4 // group, 2, 3), 1.7 * f32(2, offset_group * 2 * 6, 3, 6)
    given = [f32(6) if biased else None, f32(2, offset_group * 6, 3, 6) if masked else None]
    CASES[f"DeformConv-{group}-{offset_group}{'-masked' * masked}{'-biased' * biased}"] = case(
        "DeformConv",
        x,
        w,
        offset,
        *given,
        group=group,
        offset_group=offset_group,
        pads=[1, 0, 1, 2],
        strides=[2, 1],
        dilations=[2, 1],
        kernel_shape=[2, 3],
        oracle="ort",
    )
CASES["DeformConv-defaults"] = case("DeformConv", f32(1, 1, 4, 4), f32(1, 1, 2, 2), f32(1, 8, 3, 3), kernel_shape=[2, 2], oracle="ort")

rois = np.array([[0, 0, 8.3, 9.1], [2.1, 1.2, 20, 20], [3, 3, 5, 4.2], [-3, -4, 6, 6.7], [5, 5, 5, 5]], np.float32)
image = np.array([0, 1, 1, 0, 1])
for mode, transform, ratio in product(["avg", "max"], ["half_pixel", "output_half_pixel"], [0, 1, 2]):
    CASES[f"RoiAlign-{mode}-{transform}-{ratio}"] = case(
        "RoiAlign",
        f32(2, 3, 6, 7),
        rois,
        image,
        mode=mode,
        coordinate_transformation_mode=transform,
        sampling_ratio=ratio,
        output_height=2,
        output_width=3,
        spatial_scale=0.5,
        settings=[1],
        oracle="ort",
    )
CASES["RoiAlign-malformed"] = case("RoiAlign", f32(2, 3, 6, 7), rois[:, [2, 3, 0, 1]], image, output_height=2, output_width=2, settings=[1], oracle="ort")
for mode in ("avg", "max"):
    CASES[f"RoiAlign-{mode}-no-regions"] = case(
        "RoiAlign", f32(2, 3, 6, 7), rois[:0], image[:0], mode=mode, output_height=2, output_width=2, settings=[1], oracle="ort"
    )

whole = np.concatenate([image[:4, None], np.array([[0, 0, 9, 11], [3, 2, 7, 5], [20, 20, 22, 22], [-3, 1, 5, 5]])], axis=1).astype(np.float32)
for scale in (1.0, 0.5):
    CASES[f"MaxRoiPool-{scale}"] = case("MaxRoiPool", f32(2, 3, 6, 7), whole, pooled_shape=[2, 3], spatial_scale=scale, settings=[1], oracle="ort32")
CASES["MaxRoiPool-no-regions"] = case("MaxRoiPool", f32(2, 3, 6, 7), whole[:0], pooled_shape=[2, 3], settings=[1], oracle="ort32")
