"""Convolutions by 3 × 3 kernels in tiles of 4 × 4 outputs, each by 36 products in place of 144 (Lavin and Gray 2016, F(4 × 4, 3 × 3)).

A tile is Y = Aᵀ [(G k Gᵀ) ⊙ (Bᵀ d B)] A (their eq. 8), with d the 6 × 6 cells that it looks at: k, d and Y as polynomials, multiplied
by their values at five numbers and at infinity. For all tiles at once, Bᵀ d B is a product with two matrices that hold Bᵀ wherever a tile
lies, and the sum over channels a product of matrices at each of the 36 places. The six columns of places are made one after another, so
that what each leaves in memory is small. Values differ from a plain convolution's by about 2e-6 of the largest, where zeros were expected too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .ops.shapes import to_channels_first, to_channels_last
from .tape import Var, op

TILE, PLACES = 4, 6
POINTS = np.array([0, 5 / 8, -5 / 8, 3 / 2, -3 / 2])
"""Where the polynomials meet: 0, ±1 and ±2 would round two to three times as much."""
CHANNELS, PRODUCTS = 128, 12_000
"""Where it pays: with fewer channels, or tiles of all samples times channels, moving the cells takes what the products spare."""
PER_CELL, PER_TILE = 2, 20
"""So many channels are needed for a cell across, since matrices reach from end to end, and are allowed for a tile of a sample, since kernels
take four times the memory."""


def _transforms() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    others = [np.delete(POINTS, i) for i in range(len(POINTS))]
    polynomial = np.polynomial.polynomial.polyfromroots
    a_t = np.vstack([np.vander(POINTS, TILE, increasing=True), np.eye(TILE)[-1]]).T
    scale = np.array([np.prod(p - o) for p, o in zip(POINTS, others)])
    g = np.vstack([np.vander(POINTS, 3, increasing=True) / scale[:, None], np.eye(3)[-1]])
    b_t = np.array([*([*polynomial(o), 0] for o in others), polynomial(POINTS)])
    return a_t, g, b_t


A_T, G, B_T = _transforms()


def transposed(g: Var, w: Var, pads: Sequence[int]) -> Var | None:
    """ConvTranspose of an image [N, C, H, W] and a kernel [C, O, 3, 3], with stride 1 and at most 2 cells less at each end; None if that is slower."""
    (channels, height, width), made = (int(d or 0) for d in g.shape[1:]), int(w.shape[1] or 0)
    top, left, bottom, right = pads
    extents = (height + 2 - top - bottom, width + 2 - left - right)
    high, wide = (-(-extent // TILE) for extent in extents)
    tiles, fewer = high * wide, min(channels, made)
    if fewer < CHANNELS or g.tape.rows * tiles * fewer < PRODUCTS or not PER_CELL * max(height, width) <= fewer <= PER_TILE * tiles:
        return None
    rows, columns = _placed(height, top, high), _placed(width, left, wide)
    matrix = lambda m: g.tape.constant(m, g)
    d = op.Transpose(op.Reshape(to_channels_last(g), [0, height, -1]), perm=[1, 0, 2])
    d = op.Reshape(matrix(rows.reshape(-1, height)) @ op.Reshape(d, [height, -1]), [PLACES, -1, width, channels])  # rows of places, rows of tiles · N, W, C
    k = op.Reshape(op.Transpose(w, perm=[2, 3, 0, 1]), [9, -1])
    sums = []
    for g_row, column in zip(G, columns):
        kernel = op.Reshape(matrix(np.kron(G, g_row)[:, ::-1]) @ k, [PLACES, channels, made])  # from last to first: ConvTranspose's is flipped
        products = op.Reshape(matrix(column) @ d, [PLACES, -1, channels]) @ kernel
        sums.append(op.Reshape(matrix(A_T) @ op.Reshape(products, [PLACES, -1]), [1, -1]))
    y = op.Reshape(matrix(A_T) @ op.Concat(*sums, axis=0), [TILE, TILE, high, -1, wide, made])
    whole = [TILE * high, TILE * wide, made]
    y = op.Reshape(op.Transpose(y, perm=[3, 2, 1, 4, 0, 5]), [-1, *whole])
    # Behind −1 the batch has no name, and what adds to it would be copied, not made in place.
    return to_channels_first(y.shaped([g.shape[0], *whole]), extents)


def _placed(size: int, before: int, tiles: int) -> np.ndarray:
    """Bᵀ at each tile of an axis [places, tiles, size] whose beginning loses some of the two cells that the kernel adds."""
    placed = np.zeros((PLACES, tiles, TILE * tiles + 2))
    for k in range(tiles):
        placed[:, k, TILE * k :][:, :PLACES] = B_T
    start = 2 - before
    return placed[:, :, start : start + size]
