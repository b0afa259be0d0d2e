"""Fused layers and activations of com.microsoft, against ONNX Runtime's kernels."""

import numpy as np
import pytest
from helpers import rewritten, run

from .one_node import Free, case, check, weight, x

WINDOW = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 1]}
kernel, bias = weight(4, 3, 3, 3), weight(4)
CASES = {
    "conv": case("FusedConv", x(2, 3, 5, 5), kernel, **WINDOW),
    "conv relu": case("FusedConv", x(2, 3, 5, 5), kernel, bias, activation="Relu", **WINDOW),
    "conv sum relu": case("FusedConv", x(2, 3, 5, 5), kernel, bias, x(2, 4, 3, 5), activation="Relu", **WINDOW),
    "conv tanh": case("FusedConv", x(2, 3, 5, 5), kernel, bias, activation="Tanh", auto_pad="SAME_UPPER", group=1),
    "conv sigmoid": case("FusedConv", x(2, 4, 5, 5), weight(4, 2, 3, 3), bias, activation="Sigmoid", group=2, symbolic=True),
    "conv leaky": case("FusedConv", x(2, 3, 5, 5), kernel, bias, activation="LeakyRelu", activation_params=[0.3], **WINDOW),
    "conv clip": case("FusedConv", x(2, 3, 5, 5), kernel, bias, activation="Clip", activation_params=[-0.4, 0.9], **WINDOW),
    "conv hard sigmoid": case("FusedConv", x(2, 3, 5, 5), kernel, bias, activation="HardSigmoid", activation_params=[0.3, 0.4], **WINDOW),
    "gemm tanh": case("FusedGemm", x(2, 3), x(3, 4), bias, alpha=0.7, beta=1.3, activation="Tanh"),
    "gemm relu": case("FusedGemm", x(3, 2), x(4, 3, seed=3), bias, transA=1, transB=1, activation="Relu"),
    "gemm leaky": case("FusedGemm", x(2, 3), x(3, 4), activation="LeakyRelu", activation_alpha=0.3),
    "gemm elu": case("FusedGemm", x(2, 3), weight(3, 4), bias, activation="Elu", activation_alpha=0.6),
    "gemm hard sigmoid": case("FusedGemm", x(2, 3), weight(3, 4), bias, activation="HardSigmoid", activation_alpha=0.3, activation_beta=0.4),
    "gemm selu": case("FusedGemm", x(2, 3), weight(3, 4), bias, activation="Selu", activation_alpha=1.5, activation_gamma=0.9),
    "gemm softplus": case("FusedGemm", x(2, 3), weight(3, 4), bias, activation="Softplus"),
    "gemm softsign": case("FusedGemm", x(2, 3), weight(3, 4), bias, activation="Softsign"),
    "gemm thresholded": case("FusedGemm", x(2, 3), weight(3, 4), bias, activation="ThresholdedRelu", activation_alpha=0.2),
    "matmul": case("FusedMatMul", x(2, 3, 4), x(2, 4, 5), alpha=0.5),
    "matmul trans": case("FusedMatMul", x(2, 4, 3), x(2, 5, 4), alpha=0.5, transA=1, transB=1, symbolic=True),
    "matmul vector": case("FusedMatMul", x(4), x(4, 5), transA=1),
    "matmul batch": case("FusedMatMul", x(3, 2, 5, 4), x(4, 2, 5, 6), transBatchA=1, transBatchB=1),
    "matmul both": case("FusedMatMul", x(3, 2, 4), x(3, 2, 5), transBatchA=1, transBatchB=1, transA=1),
    "transpose matmul": case("TransposeMatMul", x(4, 3), x(4, 5), transA=1),
    "gelu": case("Gelu", x(2, 3, low=-3, high=3)),
    "bias gelu": case("BiasGelu", x(2, 3, low=-3, high=3), x(3)),
    "fast gelu": case("FastGelu", x(2, 3, low=-3, high=3)),
    "fast gelu bias": case("FastGelu", x(2, 3, low=-3, high=3), x(3)),
    "quick gelu": case("QuickGelu", x(2, 3, low=-3, high=3)),
    "silu": case("QuickGelu", x(2, 3, low=-3, high=3), alpha=1.0),
}


@pytest.mark.parametrize("name", CASES)
def test_fused(name):
    check(CASES[name])


@pytest.mark.parametrize("op_type", ["NhwcConv", "NhwcFusedConv"])
def test_channels_last(op_type):
    """ONNX Runtime has their kernels on few devices only: the same with channels first is what they are held against."""
    given = x(2, 5, 5, 3).value
    turned = given.transpose(0, 3, 1, 2)
    activation = {"activation": "Tanh"} if op_type == "NhwcFusedConv" else {}
    expected = run(case("FusedConv", Free(turned), kernel, bias, **activation, **WINDOW).model(), x0=turned)["y0"]
    _, compute = rewritten(case(op_type, Free(given), kernel, bias, **activation, **WINDOW).model())
    np.testing.assert_allclose(compute(x0=given)["y0"], expected.transpose(0, 2, 3, 1), atol=1e-5)
