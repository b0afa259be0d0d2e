"""No rewrite changes a value, whatever the model."""

import numpy as np
import pytest
from helpers import plain, rewritten, unchanged

from onnxplain.canonical import REWRITES

from .random_models import random_model


def valid(model, feeds):
    try:
        plain(model).run(None, feeds)
    except Exception:  # a random model may be none
        return False
    return True


def check(seed: int, batch) -> int:
    """1 if a rewrite fired."""
    model, feeds, keep = random_model(seed, batch)
    if not valid(model, feeds):
        return 0
    graph = unchanged(model, feeds, atol=2e-4)
    unchanged(model, feeds, keep=keep, atol=2e-4)
    unchanged(model, feeds, rewrites=[list(REWRITES)[seed % len(REWRITES)]], atol=2e-4)
    if isinstance(batch, int) and any(r.startswith("symbolic_batch") for r in graph.rewrites):
        apart(model, feeds)
    return len(graph.rewrites)


def apart(model, feeds):
    """A model that was freed of its batch size gives each sample what it got in the batch."""
    _, compute = rewritten(model)
    whole = dict(zip([o.name for o in model.graph.output], plain(model).run(None, feeds)))
    n = len(feeds["x"])
    for rows in ([0], [n - 1, 0], list(range(n)) * 2):
        got = compute(x=feeds["x"][rows])
        for name, value in whole.items():
            np.testing.assert_allclose(got[name], value[rows], atol=2e-4 * max(1, np.abs(value).max(initial=0)), rtol=0, err_msg=f"{name}, samples {rows}")


@pytest.mark.parametrize("batch", [4, 1, "N"])
def test_random_models(batch):
    fired = [check(seed, batch) for seed in range(15)]
    assert sum(map(bool, fired)) > 3


def test_the_generator_reaches_every_rewrite():
    seen = set()
    for seed in range(160):
        model, feeds, _ = random_model(seed, 4)
        if valid(model, feeds):
            seen |= {r.split(":")[0] for r in rewritten(model)[0].rewrites}
    assert {"symbolic_batch", "fuse_batch_norm", "matmul_add", "bias_add", "sink_transposes", "fold_constants"} <= seen


@pytest.mark.slow
@pytest.mark.parametrize("batch", [4, 1, "N"])
def test_many_random_models(batch):
    for seed in range(1000, 2500):
        check(seed, batch)
