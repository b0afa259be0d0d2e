"""What parameters must be."""

import numpy as np
import pytest

from onnxplain import InputError
from onnxplain.checks import count_fits, draws_for, draws_given, finite, is_list, is_real, is_whole, kind_fits, not_negative, one_of, positive_if_given


@pytest.mark.parametrize(
    ("value", "whole", "real", "several"),
    [
        (3, True, True, False),
        (np.int8(-3), True, True, False),
        (1.5, False, True, False),
        (np.float32(2), False, True, False),
        (True, False, False, False),
        (float("nan"), False, False, False),
        (np.inf, False, False, False),
        ("3", False, False, False),
        (None, False, False, False),
        ([3], False, False, True),
        ((), False, False, True),
        (np.zeros(2), False, False, True),
        (np.zeros(()), False, False, False),
        ({3: 4}, False, False, False),
    ],
)
def test_kinds_of_values(value, whole, real, several):
    assert (is_whole(value), is_real(value), is_list(value)) == (whole, real, several)


@pytest.mark.parametrize(
    ("check", "told"),
    [
        (lambda: one_of(np.zeros(2), ["a"], "p"), "p must be one of 'a', got array"),
        (lambda: one_of({}, ["a"], "p"), "p must be one of 'a', got {}"),
        (lambda: count_fits(False, "p", least=0), "p must be an integer of at least 0, got False"),
        (lambda: not_negative(-0.5, "p"), "p must be a finite number, not negative, got -0.5"),
        (lambda: positive_if_given(0, "p"), "p must be a positive number or None, got 0"),
        (lambda: kind_fits(5, dict, "p", "a dict"), "p must be a dict, got 5"),
        (lambda: finite([1, [2]], "p"), r"p must be numbers, got \[1, \[2\]\]"),
        (lambda: finite(None, "p"), "p must be numbers, got None"),
        (lambda: finite([1, np.inf], "p"), "p holds NaN or infinity"),
        (
            lambda: draws_given({"a": [[1], [2]], "b": [[1]]}, "p"),
            r"on axis 0: p for 'a' has shape \[2, 1\], p for 'b' has shape \[1, 1\]",
        ),
        (lambda: draws_given(1, "p"), r"p has shape \[\]: wanted at least one draw"),
        (lambda: draws_for({"a": [1]}, "b", "p", []), "p has no entry for 'b'"),
        (lambda: draws_for(np.zeros((2, 3)), "a", "p", [4]), r"p for 'a' has shape \[2, 3\]: wanted \[draws, 4\]"),
        (lambda: draws_for(np.zeros(2), "a", "p", ["T"]), r"wanted \[draws, T\]"),
    ],
)
def test_what_is_refused(check, told):
    with pytest.raises(InputError, match=told):
        check()


def test_draws():
    assert draws_given(np.zeros((3, 2)), "p") == 3
    assert draws_given({"a": np.zeros((3, 2)), "b": np.zeros(3)}, "p") == 3
    for shape in ([2], ["T"], [None]):
        assert draws_for({"a": np.zeros((3, 2))}, "a", "p", shape).shape == (3, 2)
    assert draws_for(np.zeros((3, 1)), "a", "p", [5]).shape == (3, 1)
