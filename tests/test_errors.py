"""What errors say."""

import pytest

from onnxplain.errors import LISTED, InputError, choose


def test_near_names_are_offered_and_long_lists_are_cut():
    known = [f"tensor_{k:03}" for k in range(LISTED + 7)]
    assert choose("tensor", "tensor_000", known) == "tensor_000"
    with pytest.raises(InputError, match=r"unknown tensor 'tensor_00': did you mean 'tensor_0.*\?$"):
        choose("tensor", "tensor_00", known)
    with pytest.raises(InputError, match=rf"^unknown tensor 'x': known: tensor_000, .*tensor_{LISTED - 1:03} … and 7 more$"):
        choose("tensor", "x", known)
    with pytest.raises(InputError, match=r"known: a, b$"):
        choose("tensor", "x", ["b", "a"])
