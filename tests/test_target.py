"""Targets: what a caller may say, and what the graph makes of it."""

import numpy as np
import pytest

from onnxplain import InputError
from onnxplain.session import Session
from onnxplain.tape import Tape, Type
from onnxplain.target import index_type, mask, parse, resolve


@pytest.mark.parametrize(
    ("target", "shape", "axis", "expected"),
    [
        (None, (2, 3), 0, [-1, -1]),
        (None, (2, 3, 4), 0, [[-1, -1]] * 2),
        (None, (2,), 0, np.zeros((2, 0))),
        (1, (2, 3), 0, [1, 1]),
        (np.int32(1), (2, 3), 0, [1, 1]),
        (np.array(2), (2, 3), 0, [2, 2]),
        ([0, 2], (2, 3), 0, [0, 2]),
        (np.array([0, 2]), (2, 3), 0, [0, 2]),
        ((0, 2), (2, 3), 0, [0, 2]),
        ([[0], [2]], (2, 3), 0, [0, 2]),
        ((1, 3), (2, 3, 4), 0, [[1, 3]] * 2),
        ((None, 3), (2, 3, 4), 0, [[-2, 3]] * 2),
        ([(0, 3), (2, None)], (2, 3, 4), 0, [[0, 3], [2, -2]]),
        (np.array([[0, 3], [2, 1]]), (2, 3, 4), 0, [[0, 3], [2, 1]]),
        (2, (2, 1, 3, 1), 0, [[0, 2, 0]] * 2),
        ([2, 0], (2, 1, 3, 1), 0, [[0, 2, 0], [0, 0, 0]]),
        (0, (2, 1), 0, [0, 0]),
        (0, (2,), 0, np.zeros((2, 0))),
        ([1, 2, 0], (4, 3), 1, [1, 2, 0]),
        (3, (5,), None, [3]),
        ([None, 2], (2, 3), 0, [-1, 2]),
        ([None, None], (2, 3), 0, [-1, -1]),
        ([(None,), (2,)], (2, 3), 0, [-2, 2]),
        ([None, (2, None)], (2, 3, 4), 0, [[-1, -1], [2, -2]]),
        ((1, 2), (3, 4), None, [[1, 2]]),
    ],
)
def test_indices(target, shape, axis, expected):
    got = parse(target, shape, axis)
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got, expected)
    assert got.shape == np.shape(expected)


@pytest.mark.parametrize("make", [np.asarray, lambda v: v.tolist()])
def test_weights(make):
    weights = np.random.default_rng(0).standard_normal((2, 3))
    got = parse(make(weights), (2, 3), 0)
    assert got.dtype.kind == "f"
    np.testing.assert_array_equal(got, weights)


@pytest.mark.parametrize(
    ("target", "shape", "word"),
    [
        (3, (2, 3), "out of range"),
        (-1, (2, 3), "negative"),
        ([0, -2], (2, 3), "negative"),
        ((0, -1), (2, 3, 4), "negative"),
        ([0, 1, 2], (2, 3), "does not fit"),
        ([None, 1, 2], (2, 3), "does not fit"),
        ([None, 3], (2, 3), "out of range"),
        ([None, "cat"], (2, 3), "does not fit"),
        ("cat", (2, 3), "does not fit"),
        (True, (2, 3), "does not fit"),
        (1, (2, 3, 4), "does not tell"),
        ((1, 4), (2, 3, 4), "out of range"),
        ((1, 2, 3), (2, 3, 4), "does not fit"),
        ([(1, 2), (1,)], (2, 3, 4), "does not fit"),
        (np.ones((2, 4)), (2, 3), "weighs"),
        (1.5, (2, 3), "weighs"),
        (np.full((2, 3), np.nan), (2, 3), "NaN"),
        (1, (2,), "out of range: the output is one number a sample"),
    ],
)
def test_refused(target, shape, word):
    with pytest.raises(InputError, match=word):
        parse(target, shape, 0)


def in_graph(y, target, axis, symbolic):
    """The resolved coordinates and the mask, computed."""
    tape = Tape()
    type = Type.tensor(np.float32, [f"d{k}" for k in range(y.ndim)] if symbolic else y.shape)
    v = tape.input("y", type)
    t = tape.input("t", index_type(type, axis))
    resolved = resolve(v, t, axis)
    run = Session(tape.build({"r": resolved, "m": mask(v, resolved, axis)}), ["CPUExecutionProvider"]).run({"y": y, "t": np.asarray(target, np.int64)})
    return run["r"], run["m"]


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("axis", [0, 1, 2, None])
@pytest.mark.parametrize("shape", [(4, 3, 5), (2, 1, 3), (1, 1, 1)])
def test_argmax_and_mask(shape, axis, symbolic):
    y = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    moved = y[None] if axis is None else np.moveaxis(y, axis, 0)
    n, rank = len(moved), moved.ndim - 1
    best = np.stack(np.unravel_index(moved.reshape(n, -1).argmax(1), moved.shape[1:]), 1)
    resolved, chosen = in_graph(y, np.full((n, rank), -1), axis, symbolic)
    np.testing.assert_array_equal(resolved, best)
    assert chosen.shape == y.shape
    back = chosen[None] if axis is None else np.moveaxis(chosen, axis, 0)
    assert back.sum() == n
    np.testing.assert_array_equal((back * moved).reshape(n, -1).sum(1), moved.reshape(n, -1).max(1))
    summed, chosen = in_graph(y, np.array([[-2] + [0] * (rank - 1)] * n), axis, symbolic)
    back = chosen[None] if axis is None else np.moveaxis(chosen, axis, 0)
    expected = np.zeros_like(back)
    expected[(slice(None), slice(None), *[0] * (rank - 1))] = 1
    np.testing.assert_array_equal(back, expected)
    assert (summed[:, 0] == -2).all()


def test_ties_go_to_the_first_and_only_minus_one_is_replaced():
    y = np.array([[1, 3, 3], [2, 2, 2], [0, 1, 5]], np.float32)
    resolved, chosen = in_graph(y, [-1, -1, 1], 0, True)
    assert resolved.ravel().tolist() == [1, 0, 1]
    np.testing.assert_array_equal(chosen, np.eye(3)[[1, 0, 1]])


def test_mixed_coordinates():
    """−1 takes that coordinate of the whole argmax, whatever stands beside it."""
    y = np.zeros((1, 3, 4), np.float32)
    y[0, 2, 1] = 1
    resolved, _ = in_graph(y, [[-1, 3]], 0, False)
    assert resolved.tolist() == [[2, 3]]


@pytest.mark.parametrize("target", [0, [0, 0], np.array([0, 0]), np.zeros((2, 0), int)])
def test_one_number_a_sample_has_one_target(target):
    assert parse(target, (2,), 0).shape == (2, 0)


def test_an_output_of_one_number_a_sample():
    y = np.array([1.0, 2.0], np.float32)
    resolved, chosen = in_graph(y, np.zeros((2, 0)), 0, True)
    assert resolved.shape == (2, 0)
    np.testing.assert_array_equal(chosen, [1, 1])
