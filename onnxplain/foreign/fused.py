"""`com.microsoft`: layers that ONNX Runtime fused with what follows them, and activations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ops.shapes import mT, to_channels_first, to_channels_last
from ..tape import Var, op
from .registry import microsoft, unless

PARAMETERS = {"LeakyRelu": ("alpha",), "HardSigmoid": ("alpha", "beta"), "Elu": ("alpha",), "ThresholdedRelu": ("alpha",)}
"""What stands in `activation_params`."""
ACTIVATIONS = {*PARAMETERS, "Relu", "Tanh", "Sigmoid", "Softplus", "Softsign", "Selu", "HardSwish", "Clip"}


def activated(y: Var, activation: str | None, given: Sequence[float] = (), **named: float | None) -> Var:
    """The activation of a fused node; its parameters stand in a list, or by name."""
    if not activation:
        return y
    unless(activation in ACTIVATIONS, f"the activation {activation!r} is unknown")
    if activation == "Clip":
        return op.Clip(y, *given)
    return getattr(op, activation)(y, **dict(zip(PARAMETERS.get(activation, ()), given)), **named)


def conv(x: Var, w: Var, b: Var | None, z: Var | None, activation: str | None, activation_params: Sequence[float], window: dict[str, Any]) -> Var:
    """A convolution, plus what was added to it, activated."""
    y = op.Conv(x, w, b, **window)
    return activated(y if z is None else y + z, activation, activation_params)


@microsoft
def FusedConv(x, w, b=None, z=None, *, activation=None, activation_params=(), **window):
    return conv(x, w, b, z, activation, activation_params, window)


@microsoft("NhwcConv", "NhwcFusedConv")
def nhwc_conv(x, w, b=None, z=None, *, activation=None, activation_params=(), **window):
    return to_channels_last(conv(to_channels_first(x), w, b, None if z is None else to_channels_first(z), activation, activation_params, window))


@microsoft
def FusedGemm(a, b, c=None, *, activation=None, activation_alpha=None, activation_beta=None, activation_gamma=None, alpha=1.0, beta=1.0, transA=0, transB=0):
    y = op.Gemm(a, b, c, alpha=alpha, beta=beta, transA=transA, transB=transB)
    return activated(y, activation, alpha=activation_alpha, beta=activation_beta, gamma=activation_gamma)


@microsoft("FusedMatMul", "TransposeMatMul")
def fused_matmul(a, b, *, alpha=1.0, transA=0, transB=0, transBatchA=0, transBatchB=0):
    y = _arranged(a, transA, transBatchA) @ _arranged(b, transB, transBatchB)
    return y if alpha == 1 else alpha * y


def _arranged(x: Var, transposed: int, batch: int) -> Var:
    """A factor as the product wants it: its first axis before the last one, its last two swapped."""
    if batch:
        x = op.Transpose(x, perm=[*range(1, x.rank - 1), 0, x.rank - 1])
    return mT(x) if transposed and x.rank > 1 else x


@microsoft
def Gelu(x):
    return op.Gelu(x)


@microsoft
def BiasGelu(x, bias):
    return op.Gelu(x + bias)


@microsoft
def FastGelu(x, bias=None):
    return op.Gelu(x if bias is None else x + bias, approximate="tanh")


@microsoft
def QuickGelu(x, *, alpha=1.702):
    return x * op.Sigmoid(x if alpha == 1 else alpha * x)
