"""One group after the other, against the drops written out."""

from __future__ import annotations

import numpy as np
from helpers import draw, mlp, parse, tokens

import onnxplain


def test_every_element_by_itself_is_the_default():
    model = parse("g (float[N,6] x) => (float[N,6] y) { y = Mul(x, w) }", w=draw(6, seed=1))
    x = draw(2, 6, seed=2)
    got = onnxplain.explain(model, x, "feature_ablation", target=np.ones((2, 6), np.float32)).attribution
    np.testing.assert_allclose(got, x * draw(6, seed=1), atol=1e-6)


def test_rows_of_the_whole_batch_wherever_it_is_split():
    known = mlp()
    mask = np.array([[0, 0, 1], [0, 1, 1], [0, 1, 2], [0, 0, 0], [1, 0, 1]])
    whole = onnxplain.explain(known.model, known.x, "feature_ablation", mask=mask, target=1).attribution
    split = onnxplain.explain(known.model, known.x, "feature_ablation", mask=mask, target=1, batch_size=2).attribution
    np.testing.assert_allclose(split, whole, atol=1e-6)
    f = lambda x: known.forward(x)[:, 1]
    expected = np.stack([f(known.x) - f(np.where(mask == mask[:, [k]], 0, known.x)) for k in range(3)], 1)
    np.testing.assert_allclose(whole, expected, atol=1e-5)


def test_tokens_replaced_by_a_mask_id():
    ids = np.array([[3, 1, 4], [5, 9, 2]])
    table, w = draw(10, 3, seed=80).astype(float), draw(3, 2, seed=81).astype(float)
    f = lambda ids: (np.tanh(table[ids]).mean(1) @ w)[:, 1]
    expected = np.stack([f(ids) - f(np.where(np.arange(3) == k, 7, ids)) for k in range(3)], 1)
    got = onnxplain.explain(tokens(), ids, "feature_ablation", wrt="ids", mask="tokens", baseline=7, target=1).attribution
    np.testing.assert_allclose(got, expected, atol=1e-6)
