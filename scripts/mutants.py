"""Plant errors in a copy of the package, one at a time, and see whether a test notices.

    python scripts/mutants.py [WORD]

Each row is (file, what is right, what is wrong, tests that should fail); WORD chooses rows whose file or text contains it. The
package and the tests are copied to a temporary folder; the checkout is not touched. Prints `caught` or `MISSED` for each row and
exits with 1 if any was missed. All rows together take about twenty minutes on two cores.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATH, NOISE = "methods/test_path.py", "methods/test_noise.py"
BATCH, NORM, LINEAR = "canonical/test_batch.py", "canonical/test_batch_norm.py", "canonical/test_linear.py"
OPTIMIZE, WINOGRAD, STRIDED, POOLING = "test_optimize.py", "test_winograd.py", "test_strided.py", "ops/test_pooling.py"
LAYOUT, TARGET, EXPLAINER = "canonical/test_layout.py", "test_target.py", "test_explainer.py"

MUTANTS = [
    # ---- methods ----
    ("methods/path.py", "[0.5, *np.ones(n - 2), 0.5]) / (n - 1)", "[0.5, *np.ones(n - 2), 0.5]) / n", PATH),
    ("methods/path.py", "(np.arange(1, n + 1) / n, np.full(n, 1 / n))", "(np.arange(n) / n, np.full(n, 1 / n))", PATH),
    ("methods/path.py", "(f.x - start(f, self.baseline, draw)) * a", "f.x * a", PATH),
    ("methods/path.py", "np.take(v, samples, question.axis(n))", "np.take(v, range(len(samples)), question.axis(n))", PATH),
    ("methods/path.py", "return f.x - (1 - alpha) * (f.x - self._baseline(f, draw))", "return f.x - alpha * (f.x - self._baseline(f, draw))", PATH),
    ("methods/noise.py", "gap * gap * (n_a * n_b / n)", "gap * gap * (n_a / n)", NOISE),
    ("methods/noise.py", "return a * a if self.square else", "return a if self.square else", NOISE),
    ("methods/noise.py", "default_rng([self.seed, s, n, index])", "default_rng([self.seed, s, index])", NOISE),
    ("methods/noise.py", "rest = [a for a in range(x.rank) if a != axis]", "rest = list(range(x.rank))", NOISE),
    ("methods/point.py", "perm=[*range(1, axis + 1), 0, *range(axis + 1, rank + 1)]", "perm=list(range(rank + 1))", PATH),
    (
        "methods/point.py",
        "v = op.Transpose(v, perm=[*range(1, axis + 1), 0, *range(axis + 1, rank + 1)])",
        "v = op.Transpose(v, perm=[*range(1, axis + 2), 0, *range(axis + 2, rank + 1)])",
        PATH,
    ),
    ("methods/gradient.py", "return f.x * f.gradient()", "return f.gradient()", "methods/test_gradient.py"),
    ("rules/lrp.py", "f.vjp(op.Relu(R))", "f.vjp(R)", "methods/test_rectified.py"),
    # ---- the engine ----
    ("backward.py", "carried[name] = carried[name] + r if name in carried else r", "carried[name] = r", "methods/test_gradient.py"),
    ("target.py", "best = best / dim(y, a)", "best = best / dim(y, 0)", TARGET),
    ("target.py", "whole = here if whole is None else op.And(whole, here)", "whole = here if whole is None else op.Or(whole, here)", TARGET),
    ("target.py", "op.Or(op.Equal(places, wanted), op.Equal(wanted, np.int64(SUM)))", "op.Equal(places, wanted)", TARGET),
    ("target.py", "axis=1, keepdims=1)\n", "axis=1, keepdims=1, select_last_index=1)\n", TARGET),
    ("runner.py", "padded = self.padded(rows)", "padded = [rows.start for _ in self.padded(rows)]", PATH),
    ("runner.py", "v.shape[a] * n // size", "n", EXPLAINER),
    ("runner.py", "(n if q.together else min(per_run, n))", "min(per_run, n)", EXPLAINER),
    ("runner.py", "forward[SCORE].astype(np.float64) - self._begun(part, drawn, weighted)", "forward[SCORE].astype(np.float64)", PATH),
    ("tape.py", "if node is None or not all(node.output):", "if True:", "test_tape.py"),
    # ---- rewrites of what is written ----
    ("optimize.py", '"beta": 1.0}', '"beta": 0.0}', OPTIMIZE),
    ("optimize.py", "c = np.nextafter(c, np.float32(-side * np.inf))", "pass", OPTIMIZE),
    ("optimize.py", 'or unpooled.op_type != "MaxUnpool"', "", OPTIMIZE),
    ("optimize.py", "op.Relu(unpooled.operands[0])", "unpooled.operands[0]", OPTIMIZE),
    ("optimize.py", 'at.tape.emit("Mul", [g, at])', "g", OPTIMIZE),
    ("optimize.py", "op.Relu(op.Mul(relu.operands[0], mask))", "op.Mul(relu.operands[0], mask)", OPTIMIZE),
    ("optimize.py", "op.Relu(transposed.operands[0]), **_attributes(transposed)", "op.Relu(transposed.operands[0]), perm=[0, 3, 2, 1]", OPTIMIZE),
    ("optimize.py", "_fused(x, alpha, beta,", "_fused(x, alpha, 0.0,", OPTIMIZE),
    ("rules/lrp.py", "self.epsilon > 0 and not self.norm_scale", "not self.norm_scale", OPTIMIZE),
    ("rules/lrp.py", "self.epsilon > 0 and not self.norm_scale", "self.epsilon > 0", OPTIMIZE),
    ("optimize.py", "fall * float(before)", "fall * float(high)", OPTIMIZE),
    ("optimize.py", "-rise * float(low)", "0.0", OPTIMIZE),
    ("optimize.py", "each = op.Mul(c, a / stabilizer(a, 1))", "each = op.Mul(c, a / stabilizer(a, -1))", OPTIMIZE),
    ("optimize.py", "(common, c + d)", "(common, c - d)", OPTIMIZE),
    ("optimize.py", "op.ConvTranspose(image, number * w, **window)", "op.ConvTranspose(image, w, **window)", OPTIMIZE),
    ("optimize.py", "dict.fromkeys(across, 1)", '{"transB": 1}', OPTIMIZE),
    ("optimize.py", "op.ReduceSum(a * (p @ b), [-1], keepdims=keepdims)", "op.ReduceSum(a * (p @ a), [-1], keepdims=keepdims)", OPTIMIZE),
    ("optimize.py", "op.ConvTranspose(spread(g, strides, output_padding)", "op.ConvTranspose(spread(g, strides, None)", STRIDED),
    ("optimize.py", '("FusedConv", "Identity")', '("Identity",)', OPTIMIZE),
    ("optimize.py", '"Add", [sums[id(n)].output[0], bias]', '"Sub", [sums[id(n)].output[0], bias]', OPTIMIZE),
    ("strided.py", "divmod(place + before, stride)", "divmod(place, stride)", STRIDED),
    ("strided.py", "first + stride * more", "first", STRIDED),
    ("strided.py", "rest or [0] * n)]", "[0] * n)]", STRIDED),
    ("strided.py", "apart * x.tape.constant(first, x)", "apart + x.tape.constant(first, x)", STRIDED),
    ("strided.py", "made - cells + at", "made - cells + 1", STRIDED),
    ("strided.py", "pads=[top, left, bottom, right]", "pads=[left, top, right, bottom]", STRIDED),
    ("strided.py", "any(min(place) < 0 for place in (*rows, *columns))", "False", STRIDED),
    ("runner.py", "return replace(self.writer, rows=rows)", "return self.writer", OPTIMIZE),
    ("several.py", "r.writer_for(size)", "r.writer", OPTIMIZE),
    ("strided.py", "axis=2), [0, strides[0]", "axis=2), [-1, strides[0]", STRIDED),
    ("winograd.py", "y.shaped([g.shape[0], *whole])", "y", WINOGRAD),
    ("winograd.py", "3 / 2, -3 / 2])", "3 / 2, 3 / 2])", WINOGRAD),
    ("winograd.py", "np.kron(G, g_row)[:, ::-1]", "np.kron(G, g_row)", WINOGRAD),
    ("winograd.py", "start = 2 - before", "start = 1", WINOGRAD),
    ("winograd.py", "perm=[3, 2, 1, 4, 0, 5]", "perm=[3, 2, 0, 4, 1, 5]", WINOGRAD),
    ("winograd.py", "_placed(width, left, wide)", "_placed(width, top, wide)", WINOGRAD),
    ("device.py", "recording.given[n].update_inplace(v)", "pass", "test_device.py"),
    ("device.py", "[np.array(r.numpy()) for r in recording.results]", "[r.numpy() for r in recording.results]", "test_device.py"),
    # ---- rewrites ----
    ("canonical/batch_norm.py", "bias - mean * k", "bias - mean", NORM),
    ("canonical/batch_norm.py", "np.sqrt(var + attribute(", "np.sqrt(var + 0 * attribute(", NORM),
    (
        "canonical/batch_norm.py",
        "k.reshape(group, 1, w.shape[1], *[1] * (w.ndim - 2))",
        "k.reshape(w.shape[1], group).T.reshape(group, 1, w.shape[1], *[1] * (w.ndim - 2))",
        NORM,
    ),
    ("canonical/batch_norm.py", "(b * k + c)", "(b + c)", NORM),
    ("canonical/batch_norm.py", "if w is None or padded or", "if w is None or", NORM),
    ("canonical/registry.py", "d not in (1, whole) for d, whole", "False for d, whole", LINEAR),
    ("canonical/linear.py", "if any(d != 1 for a, d in enumerate(spread) if a != axis):", "if False:", LINEAR),
    ("canonical/linear.py", "(old + bias.reshape(-1))", "bias.reshape(-1)", LINEAR),
    ("canonical/layout.py", "array.shape), inverse))", "array.shape), perm))", LAYOUT),
    ("canonical/batch.py", "if own in axes or not axes:", "if not axes:", BATCH),
    ("canonical/batch.py", "if own != 0 or after is None", "if after is None", BATCH),
    ("canonical/batch.py", "if place >= rank - 2:", "if False:", BATCH),
    ("canonical/batch.py", "if a >= 0 and v.shape[a] != 1:", "if False:", BATCH),
    ("canonical/batch.py", "if a == own or", "if", BATCH),
    # ---- models unlike the usual ----
    ("rules/deeplift.py", 'if f.node.op_type in ("Min", "ReduceMin")', 'if f.node.op_type in ("Min",)', "rules/test_deeplift.py"),
    ("rules/deeplift.py", "unbroadcast(owed, dx) / (dx + small)", "owed / (dx + small)", "rules/test_deeplift.py"),
    ("rules/lrp.py", '"MeanVarianceNormalization": lambda a, rank: list(a.get("axes", (0, 2, 3))),', "", "rules/test_lrp.py"),
    ("ops/shapes.py", "wide = in_single(g)", "wide = g", "ops/test_sixteen_bits.py"),
    ("ops/pooling.py", "(ceil_mode and not _hold_all_windows(x, g[0], kernel_shape, strides, pads))", "False", EXPLAINER),
    ("canonical/patterns.py", "or not _takes_whole_rows(node.inputs[0], softmax)", "", "canonical/test_patterns.py"),
    ("graph.py", 'd.ClearField("dim_param")', "pass", "ops/test_control.py"),
    ("tape.py", "while free in self.names or (not own and free in self.claimed):", "while free in self.names:", "test_write.py"),
    ("runner.py", "return [row for rows in values for row in rows]", "return values[0]", "foreign/test_classifiers.py"),
    ("runner.py", "[SCORE][scores]", "[SCORE][np.sort(scores)]", PATH),
    # ---- what random models found ----
    ("tape.py", 'SHAPE_KEPT = ("GroupNormalization", "MeanVarianceNormalization")', "SHAPE_KEPT = ()", "test_convert.py"),
    ("foreign/writer.py", "_says(t.proto) > _says(self.types.get(o))", "o not in self.types", "foreign/test_optimised.py"),
    ("canonical/patterns.py", '("Mish", 1, _tanh_of_softplus),', "", "canonical/test_patterns.py"),
    ("canonical/patterns.py", "number, values = 1 / by", "number, values = by", "canonical/test_patterns.py"),
    ("canonical/layer_norm.py", ">= len(final) - 1", ">= 0", "canonical/test_layer_norm.py"),
    ("canonical/layer_norm.py", "not _is_square(less.producer(), mean)", "False", "canonical/test_layer_norm.py"),
    ("canonical/layer_norm.py", "or not _all(variance.producer().inputs[1], together)", "", "canonical/test_layer_norm.py"),
    ("canonical/layer_norm.py", "or less.producer().inputs[1] is not centre", "", "canonical/test_layer_norm.py"),
    ("canonical/layout.py", "if rest == sorted(rest):", "if True:", LAYOUT),
    ("canonical/layout.py", "perm[a] for a in axes.reshape(-1)", "int(a) for a in axes.reshape(-1)", LAYOUT),
    ("canonical/linear.py", "and np.prod(shape[k:]) == width", "", LINEAR),
    ("canonical/registry.py", "np.broadcast_to(array.reshape(spread[rank - len(extents) :]), extents)", "np.full(extents, array.flat[0])", LINEAR),
    ("canonical/constants.py", "and all(isinstance(d, int) for d in told.flat)", "", "canonical/test_constants.py"),
    ("trace.py", "np.sum(v):.4g", "np.mean(v):.4g", "test_trace.py"),
    ("canonical/patterns.py", "if _is(limit, limits[outer]) and _is(other, limits[inner]):", "if True:", "canonical/test_patterns.py"),
    ("convert.py", '"RMSNormalization": _rms_norm,', "", "canonical/test_layer_norm.py"),
    ("ops/elementwise.py", "wide = [in_single(x) for x in xs]", "wide = xs", "ops/test_sixteen_bits.py"),
    ("ops/shapes.py", "= k, len(axes) + k", "= k, k", "ops/test_conventions.py"),
    ("methods/shapley.py", "self._table(int(m), game.most)", "self._table(m, game.most)", "methods/test_shapley.py"),
    ("methods/shapley.py", "lgamma(k) + lgamma(m - k)", "lgamma(k)", "methods/test_shapley.py"),
    ("rules/deeplift.py", "+ (t - c) for v, t", "for v, t", "rules/test_deeplift.py"),
    ("runner.py", "if axis is not None and not q.shared and v.shape[axis] != samples:", "if False:", EXPLAINER),
    ("graph.py", "if name not in self.constants and t.shape", "if t.shape", "test_graph.py"),
    # ---- what fresh eyes found ----
    ("flow.py", "self._reached({*self.wrt, *self.sources})", "self._reached({*self.wrt})", "test_flow.py"),
    ("ops/pooling.py", "np.array(list(np.ndindex(*kernel_shape))) * dilations", "np.array(list(np.ndindex(*kernel_shape)))", POOLING),
    ("ops/pooling.py", "counted(dim(y, 2 + a)) * strides[a] - pads[a]", "counted(dim(y, 2 + a)) * strides[a]", POOLING),
    ("ops/pooling.py", "if x.tape.saved:", "if False:", POOLING),
    ("canonical/windows.py", "(count - 1) * stride >= d + begin", "(count - 1) * stride > d + begin", POOLING),
    ("canonical/batch_norm.py", "k, c = k * factor, c * factor", "k = k * factor", NORM),
    ("canonical/batch_norm.py", 'shift = attribute(node, "alpha", 1.0) * (rows @ c)', "shift = rows @ c", NORM),
    ("canonical/patterns.py", "if _is(least, 0) and floating(x)", "if floating(x)", "canonical/test_patterns.py"),
    ("rules/deeplift.py", "rising = 0.5 * (op.Sign(dx) + 1)", "rising = op.Max(op.Sign(dx), 0)", "rules/test_deeplift.py"),
    ("ops/elementwise.py", "op.Where(op.Equal(y, 0), 0, 0.5 / y)", "0.5 / y", "ops/test_conventions.py"),
    ("methods/path.py", "t.is_float or n in named", "t.is_float", PATH),
    ("target.py", "[ARGMAX] * rank if t is None", "[SUM] * rank if t is None", TARGET),
    ("mixing.py", "return batch in (shapes[0][-1:] if rank else ()) or batch in shapes[1][-2:][:1]", "return False", "test_mixing.py"),
    ("mixing.py", "return own == axis or", "return", "test_mixing.py"),
    ("mixing.py", "starts[k] != 0 or ends[k] < 2**31 - 1", "starts[k] != 0", "test_mixing.py"),
    ("question.py", "if len(common) > 1 and not mixes(self.graph, d)", "if len(common) > 1", "test_mixing.py"),
    ("question.py", "bool(self.shared) or self.mixed", "bool(self.shared)", "test_mixing.py"),
    ("methods/point.py", "isinstance(d, int) and d for some", "True for some", PATH),
    ("methods/path.py", "if n in decided and n not in given", "if n not in f.question.graph.inputs and n not in given", PATH),
    ("rules/deeplift.py", 'in ("none", "add")', "!= 'mul'", "rules/test_deeplift.py"),
    ("rules/deeplift.py", "if len(active) > 2:", "if len(active) > 3:", "rules/test_deeplift.py"),
    ("rules/deeplift.py", 'if kind in ("batch_norm", "normalization") and active != [0]:', "if False:", "rules/test_deeplift.py"),
    ("convert.py", "g.value_info.extend(onnx.ValueInfoProto(name=o, type=types[o]) for o in told)", "pass", "test_convert.py"),
    ("canonical/windows.py", "output.shape = ir.Shape([None] * len(output.shape))", "pass", EXPLAINER),
    ("canonical/batch.py", '{attribute(node, "axis", 0) % rank} if is_op(node, "Concat")', '{0} if is_op(node, "Concat")', "canonical/test_batch.py"),
    (
        "ops/linear.py",
        "d = op.Expand(d, shape_of(xs[k])) if spread or kept != left[k] else d",
        "d = op.Expand(d, shape_of(xs[k])) if kept != left[k] else d",
        "test_differentiate.py",
    ),
    # ---- what costs time ----
    ("blocks.py", "% BLOCK == 0", ">= BLOCK", "test_blocks.py"),
    ("blocks.py", "and len({shapes[i] for i in images}) == 1", "", "test_blocks.py"),
    ("blocks.py", 'if n.op_type == "Div" and', 'if n.op_type == "Mul" and', "test_blocks.py"),
    ("blocks.py", "for extents in divided) > FEW", "for extents in divided) > 0", "test_blocks.py"),
    ("blocks.py", "n.input[:] = map(in_blocks, n.input)", "pass", "test_blocks.py"),
    ("tape.py", "need.update(_reads(node))", "need.update(node.input)", "test_blocks.py"),
    ("graph.py", "env.update({n: _named(v, here(n)) for n, v in given.items()})", "pass", "test_write.py"),
]


def main(word: str = "") -> int:
    chosen = [row for row in MUTANTS if word in row[0] + row[1]]
    if not chosen:
        sys.exit(f"no row has {word!r} in its file or text")
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("onnxplain", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
        for file, right, wrong, tests in chosen:
            path, start = copy / "onnxplain" / file, time.perf_counter()
            text = path.read_text()
            if text.count(right) < 1:
                print(f"GONE    {file}: {right}", flush=True)
                missed += 1
                continue
            path.write_text(text.replace(right, wrong, 1))
            command = [sys.executable, "-m", "pytest", "-n0", "-x", "-q", "-p", "no:cacheprovider", *(f"tests/{t}" for t in tests.split())]
            done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
            path.write_text(text)
            missed += done.returncode != 1
            print(f"{'caught' if done.returncode == 1 else 'MISSED':7} {file}: {right!r} → {wrong!r} ({time.perf_counter() - start:.0f} s)", flush=True)
    print("all caught" if not missed else f"{missed} missed or gone")
    return min(missed, 1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
