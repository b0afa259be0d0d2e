"""`ai.onnx.ml`: linear models, support vector machines and scalers. Labels stay with the node itself."""

from __future__ import annotations

import math

import numpy as np

from ..ops.registry import zero
from ..ops.shapes import cast
from ..tape import Type, Var, op
from .registry import UnsaidError, ml, unless

TREES = "trees are constant almost everywhere: a method that only runs the model explains them"

zero("ai.onnx.ml:Binarizer", "ai.onnx.ml:OneHotEncoder", "ai.onnx.ml:LabelEncoder", "ai.onnx.ml:CategoryMapper")

# ---- trees ----


@ml
def TreeEnsembleClassifier(x, *, classlabels_int64s=(), classlabels_strings=(), **trees):
    raise UnsaidError(TREES, [None, Type.tensor(np.float32, [x.shape[0], len(classlabels_int64s or classlabels_strings)])])


@ml("TreeEnsembleRegressor", "TreeEnsemble")
def trees(x, *, n_targets=1, **trees):
    raise UnsaidError(TREES, [Type.tensor(np.float32 if x.dtype != np.float64 else x.dtype, [x.shape[0], n_targets])])


# ---- features ----


@ml
def Scaler(x, *, offset=(0.0,), scale=(1.0,)):
    return (_float(x) - np.array(offset, np.float32)) * np.array(scale, np.float32)


@ml
def Normalizer(x, *, norm="MAX"):
    x = _float(x)
    if norm != "MAX":
        return op.LpNormalization(x, axis=x.rank - 1, p=int(norm[1]))
    largest = op.ReduceMax(x, [-1], keepdims=1)
    return x / op.Where(op.Equal(largest, 0), 1.0, largest)


@ml
def Imputer(x, *, imputed_value_floats=(), imputed_value_int64s=(), replaced_value_float=0.0, replaced_value_int64=0):
    imputed, replaced = (imputed_value_floats, replaced_value_float) if x.type.is_float else (imputed_value_int64s, replaced_value_int64)
    missing = op.IsNaN(x) if x.type.is_float and math.isnan(replaced) else op.Equal(x, np.array(replaced, x.dtype))
    return op.Where(missing, np.array(imputed, x.dtype), x)


@ml
def FeatureVectorizer(*xs, inputdimensions=()):
    return op.Concat(*(_float(x) for x in xs), axis=1)


@ml
def ArrayFeatureExtractor(x, places):
    unless(x.rank > 1, "its input has one axis only")
    return op.Gather(x, op.Reshape(places, [-1]), axis=x.rank - 1)


# ---- linear models ----


@ml
def LinearRegressor(x, *, coefficients, intercepts=None, targets=1, post_transform="NONE"):
    return _transformed(_linear(x, coefficients, targets, intercepts), post_transform)


@ml
def LinearClassifier(x, *, coefficients, intercepts, classlabels_ints=(), classlabels_strings=(), multi_class=0, post_transform="NONE"):
    scores = _linear(x, coefficients, len(intercepts), intercepts)
    if len(intercepts) == 1 and len(classlabels_ints or classlabels_strings) == 2:
        return None, _both(scores, post_transform, lambda s: 1.0 - s)
    return None, _transformed(scores, post_transform)


def _linear(x: Var, coefficients: list[float], n: int, intercepts: list[float] | None) -> Var:
    weights = np.array(coefficients, np.float32).reshape(n, -1)
    return op.Gemm(_float(x), weights, None if intercepts is None else np.array(intercepts, np.float32), transB=1)


# ---- support vector machines ----


@ml
def SVMRegressor(x, *, coefficients, rho, kernel_params=(), kernel_type="LINEAR", n_supports=0, one_class=0, post_transform="NONE", support_vectors=()):
    unless(post_transform == "NONE", f"its post_transform is {post_transform}")
    if n_supports:
        similar = _kernel(x, np.array(support_vectors, np.float32).reshape(n_supports, -1), kernel_type, kernel_params)
        y = op.Gemm(similar, np.array(coefficients, np.float32).reshape(n_supports, 1), np.array(rho[:1], np.float32))
    else:
        y = _linear(x, coefficients, 1, rho[:1])
    return op.Where(y > 0, *(y.tape.constant(side, y) for side in (1.0, -1.0))) if one_class else y


@ml
def SVMClassifier(
    x,
    *,
    coefficients,
    rho,
    classlabels_ints=(),
    classlabels_strings=(),
    kernel_params=(),
    kernel_type="LINEAR",
    post_transform="NONE",
    prob_a=(),
    prob_b=(),
    support_vectors=(),
    vectors_per_class=(),
):
    classes = len(classlabels_ints or classlabels_strings)
    if not sum(vectors_per_class):
        return None, _transformed(_linear(x, coefficients, classes, rho[:1] * classes), post_transform)
    similar = _kernel(x, np.array(support_vectors, np.float32).reshape(sum(vectors_per_class), -1), kernel_type, kernel_params)
    pairs = _pairs(np.array(coefficients, np.float32).reshape(classes - 1, -1), np.cumsum([0, *vectors_per_class]))
    decisions = op.Gemm(similar, pairs, np.array(rho, np.float32))
    if prob_a:
        shares = op.Sigmoid(-(decisions * np.array(prob_a, np.float32) + np.array(prob_b, np.float32)))
        return None, _transformed(_coupled(shares, classes), post_transform)
    if classes == 2:
        return None, _both(decisions, post_transform, op.Neg if post_transform == "NONE" else lambda s: 1.0 - s)
    return None, _transformed(decisions, post_transform)


def _kernel(x: Var, vectors: np.ndarray, kind: str, parameters: list[float]) -> Var:
    """How similar each sample is to each support vector, [N, vectors]."""
    x, (gamma, shift, degree) = _float(x), [*parameters, 0.0, 0.0, 0.0][:3]
    if kind == "RBF":
        apart = op.Unsqueeze(x, [1]) - vectors
        return op.Exp(-gamma * op.ReduceSumSquare(apart, [2], keepdims=0))
    dot = op.Gemm(x, vectors, transB=1)
    if kind == "LINEAR":
        return dot
    return op.Pow(gamma * dot + shift, degree) if kind == "POLY" else op.Tanh(gamma * dot + shift)


def _pairs(coefficients: np.ndarray, start: np.ndarray) -> np.ndarray:
    """What each support vector adds to the decision between each pair of classes, [vectors, pairs]."""
    classes, columns = len(start) - 1, []
    for i in range(classes):
        for j in range(i + 1, classes):
            column = np.zeros(coefficients.shape[1], np.float32)
            for own, other in ((i, j - 1), (j, i)):
                column[start[own] : start[own + 1]] = coefficients[other, start[own] : start[own + 1]]
            columns.append(column)
    return np.stack(columns, axis=1)


def _coupled(shares: Var, classes: int) -> Var:
    """The probabilities p of the classes that fit those of the pairs best: Qp + b1 = 0, 1ᵀp = 1 (Wu, Lin and Weng 2004, eq. 20).

    Solved by elimination: p is proportional to (Q + 11ᵀ)⁻¹1, whose matrix is positive definite. ONNX Runtime iterates and stops early.
    """
    shares = op.Clip(shares, 1e-7, 1 - 1e-7)
    if classes == 2:
        return op.Concat(shares, 1.0 - shares, axis=1)
    upper, lower = (np.zeros((classes * (classes - 1) // 2, classes * classes), np.float32) for _ in range(2))
    for k, (i, j) in enumerate(zip(*np.triu_indices(classes, 1))):
        upper[k, i * classes + j] = lower[k, j * classes + i] = 1
    square = [-1, classes, classes]
    r = op.Reshape(shares @ upper + (1.0 - shares) @ lower, square)
    turned = op.Transpose(r, perm=[0, 2, 1])
    diagonal = op.ReduceSumSquare(turned, [2], keepdims=1) * np.eye(classes, dtype=np.float32)
    system = op.Concat(diagonal - r * turned + 1.0, op.ReduceSum(r - r, [2], keepdims=1) + 1.0, axis=2)
    for k in range(classes):
        row = op.Slice(system, [k], [k + 1], [1])
        column = op.Slice(system, [k], [k + 1], [2])
        step = column - np.eye(classes, dtype=np.float32)[:, k : k + 1]
        system = system - step * (row / op.Slice(row, [k], [k + 1], [2]))
    return op.LpNormalization(op.Squeeze(op.Slice(system, [classes], [classes + 1], [2]), [2]), axis=1, p=1)


# ---- after the scores ----


def _both(s: Var, post_transform: str, other) -> Var:
    """Two columns of the one score that a binary classifier has."""
    unless(post_transform != "PROBIT", "its post_transform is PROBIT, of one score for two classes")
    if post_transform == "LOGISTIC":
        return op.Sigmoid(op.Concat(-s, s, axis=1))
    return op.Concat(other(s), s, axis=1)


def _transformed(s: Var, post_transform: str) -> Var:
    if post_transform == "LOGISTIC":
        return op.Sigmoid(s)
    if post_transform == "SOFTMAX":
        return op.Softmax(s, axis=1)
    if post_transform == "SOFTMAX_ZERO":  # what is zero stays zero
        raised = op.Where(op.Abs(s) > 1e-7, op.Exp(s - op.ReduceMax(s, [1], keepdims=1)), 0.0)
        return raised / op.ReduceSum(raised, [1], keepdims=1)
    return _probit(s) if post_transform == "PROBIT" else s


def _probit(p: Var) -> Var:
    """√2 · erf⁻¹(2p − 1), by Winitzki's approximation, as ONNX Runtime has it."""
    u = 2.0 * p - 1.0
    log = op.Log((1.0 - u) * (1.0 + u))
    v = 0.5 * log + 2 / (math.pi * 0.147)
    return math.sqrt(2) * op.Sign(u) * op.Sqrt(op.Sqrt(v * v - log / 0.147) - v)


def _float(x: Var) -> Var:
    return cast(x, np.dtype(np.float32))
