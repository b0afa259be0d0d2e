"""One explanation in several forms: with and without what is done for speed, sample by sample, as a file, of 16 bits. Random models tell them apart."""

from contextlib import suppress

import numpy as np
import onnx
import pytest
from helpers import halved, plain

import onnxplain
from onnxplain import UnsupportedModelError
from onnxplain.optimize import switched_off

from .random_models import random_model
from .test_rewrites import valid

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # that a method is the plain gradient on a random model
METHODS = {
    "gradient": {},
    "guided_backprop": {},
    "lrp": {"composite": "epsilon_plus", "epsilon": 0.5},
    "deep_taylor": {},
    "deeplift": {},
}  # fmt: skip


def forms(model: onnx.ModelProto, x: np.ndarray, target: int | tuple[int, ...], method: str, **params):
    """The attribution, and what the other forms say."""
    explainer = onnxplain.Explainer(model, method, **params)
    e = explainer.explain(x, target)
    with switched_off():
        yield e.attribution, onnxplain.explain(model, x, method, target=target, **params).attribution
    yield e.attribution, np.concatenate([explainer.explain(x[n : n + 1], target).attribution for n in range(len(x))])
    yield e.attribution, plain(explainer.model).run(["attribution"], {"x": x, "target": np.asarray(e.target, np.int64)})[0]
    half = halved(model)
    if np.abs(e.attribution).max(initial=0) < 1e3 and valid(half, {"x": x.astype(np.float16)}):  # far from what float16 holds
        assert np.isfinite(onnxplain.explain(half, x.astype(np.float16), method, target=target, **params).attribution).all()


def separates(model: onnx.ModelProto, x: np.ndarray) -> tuple[int, ...] | None:
    """The shape of a sample's output, where a sample has one of its own."""
    session = plain(model)
    y, alone = session.run(None, {"x": x})[0], session.run(None, {"x": x[:1]})[0]
    own = y.ndim > 1 and len(y) == len(x) and alone.shape == y[:1].shape and np.allclose(alone, y[:1], rtol=1e-3, atol=1e-3)
    return y.shape[1:] if own else None


def check(seed: int) -> int:
    """How many methods could be asked."""
    model, feeds, _ = random_model(seed, "N", width=16)
    shape = separates(model, feeds["x"]) if valid(model, feeds) and valid(model, {"x": feeds["x"][:1]}) else None
    done = 0
    for method, params in METHODS.items() if shape is not None else ():
        with suppress(UnsupportedModelError):
            for a, b in forms(model, feeds["x"], (0,) * len(shape) if len(shape) > 1 else 0, method, **params):
                np.testing.assert_allclose(a, b, rtol=0, atol=2e-3 * np.abs(a).max(initial=1e-3), err_msg=f"{method}, seed {seed}")
            done += 1
    return done


@pytest.mark.parametrize("part", range(4))
def test_forms_agree(part):
    assert sum(map(check, range(part, 48, 4))) > 8


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_forms_agree_on_many(part):
    for seed in range(1000 + part, 1400, 4):
        check(seed)
