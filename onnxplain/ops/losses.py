"""Losses over classes: a label picks one class of axis 1, a weight and `ignore_index` say how much the pick counts."""

from __future__ import annotations

import numpy as np

from ..tape import Var, op
from .registry import reduction
from .shapes import cast, counted, dim


@reduction
def NegativeLogLikelihoodLoss(g, y, x, label, weight=None, *, ignore_index=None, reduction="mean"):
    """y = −Σ w·x at the labels; the mean divides by Σ w there."""
    hit = _hit(x, label, ignore_index)
    w = None if weight is None else op.Reshape(weight, [1, -1, *[1] * (x.rank - 2)])
    share = op.Unsqueeze(g, [1]) if reduction == "none" else g
    if reduction == "mean":
        share = share / op.ReduceSum(hit if w is None else hit * w, keepdims=0)
    pull = -share * hit

    def d_weight():
        # The mean's divisor holds the weight too: −(x + y) in place of −x.
        each = pull * (x + y if reduction == "mean" else x)
        return op.ReduceSum(each, [0, *range(2, x.rank)], keepdims=0)

    return pull if w is None else pull * w, None, d_weight


@reduction(many=True)
def SoftmaxCrossEntropyLoss(g, y, scores, labels, weights=None, *, ignore_index=None, reduction="mean"):
    """The negative log likelihood of log p = LogSoftmax(scores), which is the second output."""
    log_p = y[1] if len(y) > 1 and y[1] is not None else op.LogSoftmax(scores, axis=1)
    d_weights, total = None, g[1] if len(g) > 1 else None
    if g[0] is not None:
        d_log_p, _, d_weights = NegativeLogLikelihoodLoss(g[0], y[0], log_p, labels, weights, ignore_index=ignore_index, reduction=reduction)
        total = d_log_p if total is None else total + d_log_p
    return total - op.Exp(log_p) * op.ReduceSum(total, [1], keepdims=1), None, d_weights


def _hit(x: Var, label: Var, ignore_index: int | None) -> Var:
    """One where a cell of x is the labelled class of a row that counts, in x's shape."""
    label = op.Unsqueeze(label, [1])
    classes = cast(counted(dim(x, 1)), label)
    hit = op.Equal(label, op.Reshape(classes, [1, -1, *[1] * (x.rank - 2)]))
    if ignore_index is not None:
        hit = hit & ~op.Equal(label, np.array(ignore_index, label.dtype))
    return cast(hit, x)
