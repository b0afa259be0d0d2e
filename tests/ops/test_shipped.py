"""All node cases that the onnx package ships, at their own shapes and at unknown ones; slow."""

import pytest
from shipped import verdicts

DISPUTED = {
    "test_maxunpool_export_with_output_shape": "ONNX Runtime reads the indices as places in output_shape",
    "test_resize_downsample_scales_linear_align_corners": "the evaluator aligns the corners of the fractional extent 0.6 · 4, ONNX Runtime those of 2",
    "test_resize_downsample_scales_cubic_align_corners": "likewise, 0.8 · 4 and 3",
}
"""Where onnx's reference evaluator and ONNX Runtime compute other values, so that no gradient agrees with both."""

OPEN = {
    **dict.fromkeys([f"test_affine_grid_{d}d{how}_expanded" for d in (2, 3) for how in ("", "_align_corners")], "the rank follows from the number of sizes"),
    "test_averagepool_2d_precomputed_same_upper": "pads of an average over an extent known only at run time",
    **dict.fromkeys([f"test_convtranspose_{how}" for how in ("output_shape", "kernel_shape", "autopad_same")], "pads that follow from unknown extents"),
}
"""What is refused, by name, at unknown dimensions."""


@pytest.mark.slow
@pytest.mark.parametrize("symbolic", [False, True], ids=["fixed", "symbolic"])
def test_shipped_cases(symbolic):
    told = list(verdicts(symbolic))
    assert sum(v.status == "pass" for v in told) > 1100
    assert [v for v in told if v.status == "fail"] == []
    assert {v.case for v in told if v.status == "refused"} <= (set(OPEN) if symbolic else set())
    assert {v.case for v in told if v.status == "disputed"} == set(DISPUTED)
