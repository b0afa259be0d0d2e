"""Quantised operators of com.microsoft, against ONNX Runtime's kernels. Their derivatives are those of what they are spelled out as."""

import numpy as np
import pytest

from .one_node import case, check, fed, weight, x

f, u8, i8, i32 = np.float32, np.uint8, np.int8, np.int32


def codes(*shape, dtype=u8, seed=0):
    info = np.iinfo(dtype)
    return fed(np.random.default_rng([seed, *shape]).integers(info.min, info.max, shape, endpoint=True), dtype)


def scale(*values):
    return np.array(values if len(values) > 1 else values[0], f)


def zero(*values, dtype=u8):
    return np.array(values if len(values) > 1 else values[0], dtype)


A, B, Y = (scale(0.02), zero(120)), (scale(0.03), zero(99)), (scale(0.05), zero(128))
signed = [(s, z.astype(i8)) for s, z in ((scale(0.02), zero(3)), (scale(0.03), zero(5)), (scale(0.05), zero(7)))]
packed = lambda *shape: codes(*shape).value
WINDOW = {"kernel_shape": [3, 3], "pads": [1, 1, 0, 0], "strides": [2, 2]}
kernel = codes(4, 3, 3, 3, dtype=i8).value
QUANTIZED = {
    "add": case("QLinearAdd", codes(2, 3), *A, codes(2, 3, seed=1), *B, *Y, outputs=(u8,)),
    "add signed": case("QLinearAdd", codes(2, 3, dtype=i8), *signed[0], codes(3, dtype=i8), *signed[1], *signed[2], outputs=(i8,)),
    "mul": case("QLinearMul", codes(2, 3), *A, codes(2, 1, seed=1), *B, *Y, outputs=(u8,)),
    "sigmoid": case("QLinearSigmoid", codes(4, 9), *A, scale(0.005), zero(0), outputs=(u8,)),
    "leaky": case("QLinearLeakyRelu", codes(4, 9), *A, *Y, outputs=(u8,), alpha=0.2),
    "leaky default": case("QLinearLeakyRelu", codes(4, 9), scale(1.0), zero(200), scale(0.1), zero(50), outputs=(u8,)),
    "softmax": case("QLinearSoftmax", codes(4, 3, 2), *A, scale(1 / 256), zero(0), outputs=(u8,), opset=13, axis=1),
    "softmax old": case("QLinearSoftmax", codes(4, 3, 2), *A, scale(1 / 256), zero(0), outputs=(u8,), opset=12, axis=1),
    "concat": case("QLinearConcat", *Y, codes(2, 3), *A, codes(2, 2), *B, outputs=(u8,), axis=1),
    "where": case("QLinearWhere", fed([[True], [False]], bool), codes(2, 3), *A, codes(2, 3, seed=1), *B, *Y, outputs=(u8,)),
    "mean pool": case("QLinearAveragePool", codes(2, 3, 5, 5), *A, *Y, outputs=(u8,), **WINDOW),
    "mean pool padded": case("QLinearAveragePool", codes(2, 5, 5, 3), *A, *Y, outputs=(u8,), channels_last=1, count_include_pad=1, **WINDOW),
    "global": case("QLinearGlobalAveragePool", codes(2, 3, 5, 5), *A, *Y, outputs=(u8,)),
    "global last": case("QLinearGlobalAveragePool", codes(2, 5, 5, 3), *A, *Y, outputs=(u8,), channels_last=1),
    "conv": case("QLinearConv", codes(2, 3, 5, 5), *A, kernel, scale(0.01), zero(0, dtype=i8), *Y, outputs=(u8,), domain="", version=13, **WINDOW),
    "conv last": case(
        "QLinearConv", codes(2, 5, 5, 3), *A, kernel, scale(0.01, 0.02, 0.01, 0.03), zero(0, 0, 0, 0, dtype=i8), *Y, np.arange(4, dtype=i32), outputs=(u8,),
        channels_last=1, **WINDOW,
    ),
    "max pool": case("NhwcMaxPool", codes(2, 5, 5, 3), outputs=(u8,), **WINDOW),
    "gemm": case("QGemm", codes(2, 3), *A, codes(3, 4).value, *B, np.arange(4, dtype=i32) * 99, scale(0.0501), zero(128), outputs=(u8,)),
    "gemm unbiased": case("QGemm", codes(2, 3), *A, codes(3, 2).value, scale(0.1, 0.2), zero(1, 2), None, scale(0.9), zero(128), outputs=(u8,)),
    "gemm real": case("QGemm", codes(3, 2), *A, codes(4, 3).value, *B, None, outputs=(f,), alpha=0.7, transA=1, transB=1),
    "gemm columns": case("QGemm", codes(2, 3), *A, codes(4, 3).value, scale(0.1, 0.2, 0.3, 0.4), zero(1, 2, 3, 4), transB=1),
    "gemm scaled bias": case("QGemm", codes(2, 3), *A, codes(3, 4).value, *B, np.arange(4, dtype=i32) * 99, alpha=0.5),
    "dynamic": case("DynamicQuantizeMatMul", fed(weight(2, 3, 5), f), codes(5, 4).value, *B, weight(4)),
    "dynamic columns": case("DynamicQuantizeMatMul", fed(weight(3, 5), f), codes(5, 2, dtype=i8).value, scale(0.1, 0.2), zero(3, 4, dtype=i8)),
    "integer": case("MatMulIntegerToFloat", codes(2, 3, 5), codes(5, 4).value, A[0], B[0], A[1], B[1], weight(4)),
    "integer columns": case("MatMulIntegerToFloat", codes(3, 5), codes(5, 2).value, A[0], scale(0.1, 0.2), A[1], zero(3, 4)),
    "attention": case(
        "QAttention", codes(2, 5, 8), codes(8, 24).value, weight(24), *(A[0], scale(0.01)), fed([4, 3], i32), A[1], zero(127), num_heads=2, unidirectional=1
    ),
    "attention columns": case(
        "QAttention", codes(2, 5, 8), codes(8, 24, dtype=i8).value, weight(24), A[0], weight(24, low=0.01, high=0.02), None, A[1], np.zeros(24, i8), num_heads=2
    ),
    "embed": case(
        "QEmbedLayerNormalization", fed([[1, 0, 2]], i32), fed([[0, 0, 1]], i32),
        *(codes(n, 8).value for n in (4, 5, 2)), codes(8).value, codes(8, seed=1).value,
        None, *(scale(v) for v in (0.01, 0.02, 0.03, 0.01, 0.02)), *(zero(v) for v in (120, 130, 125, 90, 140)), outputs=(f, i32),
    ),
    "rows": case("GatherBlockQuantized", packed(6, 16), fed([[1, 5], [0, 2]], np.int64), weight(6, 2), bits=4, block_size=16, quantize_axis=1),
    "rows zeros": case("GatherBlockQuantized", packed(6, 24), fed([3, 1], np.int32), weight(6, 3), packed(6, 2), bits=4, block_size=16, quantize_axis=1),
    "rows bytes": case("GatherBlockQuantized", packed(6, 32), fed([3], i32), weight(6, 2), packed(6, 2), bits=8, block_size=16, quantize_axis=1),
    "quantize": case("QuantizeLinear", fed(weight(2, 3), f), scale(1e-4), zero(300, dtype=np.uint16), outputs=(np.uint16,)),
    "dequantize": case("DequantizeLinear", codes(2, 3, dtype=np.int16), scale(0.1, 0.2, 0.3), zero(1, 2, 3, dtype=np.int16), axis=1),
}  # fmt: skip

WEIGHTS = {
    "four bits": case("MatMulNBits", x(2, 3, 40), packed(5, 3, 8), weight(15), bits=4, block_size=16, K=40, N=5),
    "four bits zeros": case("MatMulNBits", x(3, 32), packed(5, 2, 8), weight(5, 2), packed(5, 1), bits=4, block_size=16, K=32, N=5, symbolic=True),
    "eight bits": case("MatMulNBits", x(3, 32), packed(5, 2, 16), weight(10), packed(5, 2), bits=8, block_size=16, K=32, N=5),
    "real zeros": case("MatMulNBits", x(3, 32), packed(5, 2, 8), weight(10), weight(10), bits=4, block_size=16, K=32, N=5),
    "bias": case("MatMulNBits", x(3, 32), packed(5, 2, 8), weight(10), None, None, weight(5), bits=4, block_size=16, K=32, N=5),
    "two bits": case("MatMulNBits", x(3, 64), packed(5, 4, 4), weight(20), packed(5, 1), bits=2, block_size=16, K=64, N=5),
}


@pytest.mark.parametrize("name", QUANTIZED)
def test_quantized(name):
    check(QUANTIZED[name])


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights(name):
    check(WEIGHTS[name], atol=1e-3)
