"""Rows for ops/interpolation.py."""

from itertools import product

import numpy as np
from harness import case, fed, ints, x

CASES = {}
COORDINATES = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"]
f = lambda *values: np.array(values, np.float32)


# symbolic=False: ONNX's own inference refuses sizes of an unknown number, even in the model alone.
def rows(*cases):
    for c in cases:
        CASES.setdefault(c.op_type, []).append(c)


def resize(shape, *given, **attributes):
    rows(case("Resize", x(*shape), *given, reference=False, step=0.5, **attributes))


for mode, how, scales in product(["nearest", "linear", "cubic"], COORDINATES, [(1, 1, 2, 1.6), (1, 1, 0.6, 0.5)]):
    if not (mode == "linear" and how == "align_corners" and scales[2] < 1):
        resize((1, 2, 5, 6), None, f(*scales), mode=mode, coordinate_transformation_mode=how)
for nearest in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
    resize((1, 1, 4, 6), None, f(1, 1, 1.5, 0.5), nearest_mode=nearest, coordinate_transformation_mode="asymmetric")
for mode in ("linear", "cubic"):
    resize((1, 2, 8, 6), None, f(1, 1, 0.5, 0.6), mode=mode, antialias=1)
    resize((1, 2, 8, 6), None, None, ints(1, 2, 3, 4), mode=mode, antialias=1)
resize((1, 2, 5, 6), None, f(1, 1, 1.5, 1.5), mode="cubic", exclude_outside=1, cubic_coeff_a=-0.5)
resize((2, 2, 4, 3), None, None, ints(2, 2, 7, 3), mode="linear")
resize((2, 2, 4, 3), None, None, fed([2, 2, 7, 3]), symbolic=False)
resize((2, 2, 4, 3), None, fed([1, 1, 2, 2], np.float32), mode="linear")
resize((2, 2, 4, 3), None, None, ints(7, 5), axes=[2, 3], mode="linear")
resize((2, 2, 4, 3), None, f(2, 1.5), axes=[-1, -2])
resize((2, 4, 3), None, f(1, 1, 2))
resize((4, 3), None, f(2, 1.5), mode="linear")
resize((1, 1, 3, 3, 2), None, f(1, 1, 2, 1, 2), mode="linear")
resize((2, 4), None, f(2, 1))
resize((1, 1, 2, 2), None, f(1, 1, 1.25, 1.25), mode="linear")
resize((1, 1, 2, 2), None, f(1, 1, 0.75, 1.25), mode="linear")
for policy, mode in product(["not_larger", "not_smaller"], ["nearest", "linear"]):
    resize((1, 1, 4, 6), None, None, ints(7, 8), axes=[2, 3], keep_aspect_ratio_policy=policy, mode=mode)
    resize((1, 1, 4, 6), None, None, fed([3, 5]), symbolic=False, axes=[2, 3], keep_aspect_ratio_policy=policy, mode=mode)
for value in (0.0, 9.0):
    crop = {"coordinate_transformation_mode": "tf_crop_and_resize", "mode": "linear", "extrapolation_value": value}
    resize((1, 1, 5, 6), f(0, 0, 0.4, 0.6, 1, 1, 1.2, 1.7), None, ints(1, 1, 3, 4), **crop)
    resize((1, 1, 5, 6), fed([0.1, 0.2, 0.8, 0.9], np.float32), None, ints(3, 4), axes=[2, 3], **crop)
for aligned in (0, 1):
    rows(case("AffineGrid", x(2, 2, 3), ints(2, 1, 4, 5), align_corners=aligned, reference=False, step=0.5))
    rows(case("AffineGrid", x(1, 3, 4), fed([1, 1, 2, 3, 4]), align_corners=aligned, reference=False, step=0.5))
