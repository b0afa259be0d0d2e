"""VJPs over the whole space of attributes, drawn at random: a few draws, always the same, in every run; many new ones with -m slow."""

from functools import partial

import check_vjp
import numpy as np
import pytest
from cases_interpolation import COORDINATES
from cases_recurrent import GIVEN, drawn
from harness import apart, case, check, fed, ints, x
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from recurrent_numpy import DEFAULTS

FEW = {"max_examples": 25, "derandomize": True}
MANY = {"max_examples": 500, "print_blob": True}


def prop(*strategies, **named):
    """`given`, once with few examples and once, slow, with many."""

    def decorate(body):
        runs = [
            settings(deadline=None, database=None, suppress_health_check=list(HealthCheck), **how)(given(*strategies, **named)(body)) for how in (FEW, MANY)
        ]

        @pytest.mark.parametrize("run", [pytest.param(runs[0], id="few"), pytest.param(runs[1], id="many", marks=pytest.mark.slow)])
        def test(run):
            run()

        return test

    return decorate


linear = partial(case, reference=False, step=0.5)  # a linear map bears a large step
numbers = st.integers


def per_axis(n, low, high):
    return st.lists(numbers(low, high), min_size=n, max_size=n)


@st.composite
def windows(draw, *, least_pad=0):
    """A window of one to three dimensions, and an extent that it fits into."""
    n = draw(numbers(1, 3))
    kernel, strides, dilations = draw(per_axis(n, 1, 3)), draw(per_axis(n, 1, 3)), draw(per_axis(n, 1, 2))
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilations)]
    pads = [draw(numbers(least_pad, k - 1)) for k in kernel * 2]  # a pooling window never lies in the padding alone
    extents = [max(1, r - p - q) + draw(numbers(0, 4 - n)) for r, p, q in zip(reach, pads[:n], pads[n:])]
    return extents, {"kernel_shape": kernel, "strides": strides, "dilations": dilations, "pads": pads}


def automatic(attributes, auto_pad):
    """The attributes with auto_pad in place of pads, unless it is NOTSET; ONNX Runtime knows it without dilations."""
    if auto_pad == "NOTSET":
        return attributes
    return {k: v for k, v in attributes.items() if k not in ("pads", "dilations")} | {"auto_pad": auto_pad}


AUTO = st.sampled_from(["NOTSET", "NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"])


@prop(windows(), st.sampled_from([(1, 2, 1), (2, 4, 2), (2, 2, 3), (4, 8, 1)]), AUTO, st.booleans(), st.booleans())
def test_conv(window, channels, auto_pad, biased, symbolic):
    (extents, attributes), (group, into, per_group) = window, channels
    assume(auto_pad != "VALID" or all(e >= k for e, k in zip(extents, attributes["kernel_shape"])))
    w, b = x(group * per_group, into // group, *attributes["kernel_shape"]), x(group * per_group) if biased else None
    check(linear("Conv", x(2, into, *extents), w, b, group=group, **automatic(attributes, auto_pad)), symbolic)


@prop(
    windows(),
    st.sampled_from([(1, 2, 1), (2, 4, 2), (2, 2, 3)]),
    st.sampled_from(["NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER", "shape"]),
    st.data(),
)
def test_conv_transpose(window, channels, auto_pad, data):
    (extents, attributes), (group, into, per_group) = window, channels
    kernel, strides, dilations, pads = (attributes[k] for k in ("kernel_shape", "strides", "dilations", "pads"))
    n, reach = len(kernel), [d * (k - 1) + 1 for k, d in zip(kernel, dilations)]
    if auto_pad == "shape":  # between nothing cut and all but one cell of each window cut
        wanted = [s * (e - 1) + max(1, data.draw(numbers(r - k, r))) for e, k, s, r in zip(extents, kernel, strides, reach)]
        how = {k: v for k, v in attributes.items() if k != "pads"} | {"output_shape": wanted}
    elif auto_pad == "NOTSET":
        padding = [data.draw(numbers(0, s - 1)) for s in strides]
        full = [s * (e - 1) + o + r - p - q for e, s, r, o, p, q in zip(extents, strides, reach, padding, pads[:n], pads[n:])]
        assume(min(full) > 0)
        how = attributes | {"output_padding": padding}
    else:
        how = automatic(attributes, auto_pad)
        assume(all(k >= s for k, s in zip(kernel, strides)))  # what SAME means elsewhere, ONNX leaves open
    symbolic = auto_pad != "shape" and data.draw(st.booleans())
    check(linear("ConvTranspose", x(1, into, *extents), x(into, per_group, *kernel), x(group * per_group), group=group, **how), symbolic)


def _ends_inside(extents, kernel_shape, strides, dilations, pads):
    """Whether no window would begin behind the input: ONNX Runtime leaves such a window out, ONNX's inference counts it."""
    spans = [(e + p + q - d * (k - 1) - 1, e + p, s) for e, k, s, d, p, q in zip(extents, kernel_shape, strides, dilations, pads, pads[len(strides) :])]
    return all(-(-span // s) * s < inside for span, inside, s in spans)


@prop(windows(), numbers(0, 1), numbers(0, 1), AUTO, st.booleans())
def test_average_pool(window, ceil_mode, count_include_pad, auto_pad, symbolic):
    extents, attributes = window
    how = pooled(extents, attributes, ceil_mode, auto_pad)
    known_pads = not auto_pad.startswith("SAME") or max(how["strides"]) == 1
    check(linear("AveragePool", x(2, 2, *extents), count_include_pad=count_include_pad, **how), symbolic and known_pads)


@prop(windows(), numbers(0, 1), numbers(1, 2), numbers(0, 1), AUTO, st.booleans())
def test_max_pool(window, ceil_mode, outputs, storage_order, auto_pad, symbolic):
    extents, attributes = window
    how = pooled(extents, attributes, ceil_mode, auto_pad)
    pool = case("MaxPool", apart(2, 2, *extents), outputs=outputs, storage_order=storage_order, reference=False, step=1e-3, rtol=5e-3, **how)
    check(pool, symbolic)


@prop(windows(), numbers(0, 1), st.sampled_from([1, 2, 3]), st.booleans())
def test_lp_pool(window, ceil_mode, p, symbolic):
    extents, attributes = window
    how = pooled(extents, attributes, ceil_mode, "NOTSET")
    check(case("LpPool", x(2, 2, *extents, low=0.3, high=1), p=p, reference=False, rtol=5e-3, **how), symbolic)


def pooled(extents, attributes, ceil_mode, auto_pad):
    assume(all(e >= d for e, d in zip(extents, attributes["dilations"])))  # no window steps over all of the input
    if auto_pad == "NOTSET":
        assume(not ceil_mode or _ends_inside(extents, **attributes))
        return attributes | {"ceil_mode": ceil_mode}
    sizes = list(zip(extents, attributes["kernel_shape"], attributes["strides"]))
    assume(auto_pad != "VALID" or all(e >= k for e, k, _ in sizes))
    # Where SAME needs less than no padding, ONNX Runtime's pools skip cells at the beginning, or do not run.
    assume(auto_pad == "VALID" or all((e - 1) % s < k for e, k, s in sizes))
    return automatic(attributes, auto_pad)


@prop(st.data(), st.booleans(), st.booleans())
def test_gather(data, known, symbolic):
    shape = data.draw(per_axis(data.draw(numbers(1, 3)), 1, 4))
    axis = data.draw(numbers(-len(shape), len(shape) - 1))
    index = np.zeros(data.draw(per_axis(data.draw(numbers(0, 2)), 1, 3)), np.int64)
    index[...] = np.reshape([data.draw(numbers(-shape[axis], shape[axis] - 1)) for _ in range(index.size)], index.shape)
    check(linear("Gather", x(*shape), index if known else fed(index), axis=axis), symbolic)


@prop(st.data(), st.booleans())
def test_gather_elements(data, symbolic):
    shape = data.draw(per_axis(data.draw(numbers(1, 3)), 1, 4))
    axis = data.draw(numbers(-len(shape), len(shape) - 1))
    wanted = [data.draw(numbers(1, 5)) if a == axis % len(shape) else data.draw(numbers(1, d)) for a, d in enumerate(shape)]
    index = np.reshape([data.draw(numbers(-shape[axis], shape[axis] - 1)) for _ in range(int(np.prod(wanted)))], wanted)
    check(linear("GatherElements", x(*shape), fed(index), axis=axis), symbolic)


SHAPES = st.lists(numbers(1, 4), min_size=1, max_size=3)
SEEDS = numbers(0, 2**32 - 1).map(np.random.default_rng)


@prop(SHAPES, st.data(), SEEDS, st.booleans(), st.booleans())
def test_gather_nd(shape, data, rng, known, symbolic):
    batch = data.draw(numbers(0, len(shape) - 1))
    depth = data.draw(numbers(1, len(shape) - batch))
    free = data.draw(st.lists(numbers(1, 3), min_size=int(batch == 0), max_size=2))
    extents = np.array(shape[batch : batch + depth])
    index = rng.integers(-extents, extents, (*shape[:batch], *free, depth))
    check(linear("GatherND", x(*shape), index if known else fed(index), batch_dims=batch), symbolic)


REDUCTIONS = st.sampled_from(["none", "add", "mul", "max", "min"])
scatter = partial(case, reference=False, step=1e-3, rtol=5e-3)


@prop(SHAPES, st.data(), SEEDS, REDUCTIONS, st.booleans())
def test_scatter_elements(shape, data, rng, reduction, symbolic):
    axis = data.draw(numbers(-len(shape), len(shape) - 1))
    wanted = [data.draw(numbers(1, d)) for d in shape]
    extent = shape[axis]
    if reduction == "none":  # no place twice
        index = np.argsort(rng.random([*wanted[: axis % len(shape)], extent, *wanted[axis % len(shape) + 1 :]]), axis=axis)
        index = np.take(index, range(wanted[axis]), axis=axis)
    else:
        index = rng.integers(0, extent, wanted)
    index = index - extent * rng.integers(0, 2, index.shape)
    c = scatter("ScatterElements", apart(*shape), fed(index), apart(*wanted), axis=axis, reduction=reduction)
    _assume_no_near_ties(c, reduction)
    check(c, symbolic)


@prop(SHAPES, st.data(), SEEDS, REDUCTIONS, st.booleans())
def test_scatter_nd(shape, data, rng, reduction, symbolic):
    depth = data.draw(numbers(1, len(shape)))
    free = data.draw(st.lists(numbers(1, 3), min_size=1, max_size=2))
    places, count = int(np.prod(shape[:depth])), int(np.prod(free))
    assume(reduction != "none" or count <= places)
    flat = rng.permutation(places)[:count] if reduction == "none" else rng.integers(0, places, count)
    index = np.stack(np.unravel_index(flat, shape[:depth]), axis=-1).reshape(*free, depth)
    index = index - np.array(shape[:depth]) * rng.integers(0, 2, index.shape)
    c = scatter("ScatterND", apart(*shape), fed(index), apart(*free, *shape[depth:]), reduction=reduction)
    _assume_no_near_ties(c, reduction)
    check(c, symbolic)


def _assume_no_near_ties(c, reduction):
    """Small steps must not change who is the largest."""
    values = np.sort(np.concatenate([v.ravel() for v in c.draw(np.random.default_rng(0)).values()]))
    assume(reduction not in ("max", "min") or np.diff(values).min() > 4 * c.step)


@prop(SHAPES, st.data(), numbers(0, 1), numbers(0, 1), st.booleans(), st.booleans())
def test_top_k(shape, data, largest, ordered, known, symbolic):
    axis = data.draw(numbers(-len(shape), len(shape) - 1))
    k = [data.draw(numbers(1, shape[axis]))]
    check(scatter("TopK", apart(*shape), ints(*k) if known else fed(k), outputs=2, axis=axis, largest=largest, sorted=ordered), symbolic)


@st.composite
def equations(draw):
    """One to three operands with letters that may repeat, with or without an ellipsis and a stated result."""
    sizes = dict(zip("abcd", (2, 3, 1, 2)))
    terms = [draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=3)) for _ in range(draw(numbers(1, 3)))]
    width = draw(numbers(0, 2))  # the same for all: ONNX Runtime crashes on ellipses of different ranks
    spread = [draw(st.booleans()) for _ in terms]
    equation = ",".join("..." * e + "".join(t) for t, e in zip(terms, spread))
    if draw(st.booleans()):
        kept = draw(st.lists(st.sampled_from(sorted({c for t in terms for c in t})), unique=True))
        equation += "->" + "..." * any(spread) + "".join(kept)
    return equation, [(*[2] * width * e, *(sizes[c] for c in t)) for t, e in zip(terms, spread)]


@prop(equations(), st.booleans())
def test_einsum(drawn_equation, symbolic):
    equation, shapes = drawn_equation
    check(case("Einsum", *(x(*s) for s in shapes), equation=equation), symbolic)


@prop(st.data(), st.booleans(), st.booleans())
def test_slice(data, known, symbolic):
    shape = data.draw(per_axis(data.draw(numbers(1, 3)), 2, 6))
    axes = data.draw(st.lists(numbers(0, len(shape) - 1), min_size=1, max_size=len(shape), unique=True))
    steps = [data.draw(st.sampled_from([1, 1, 2, 3, -1, -2])) for _ in axes]
    starts, ends = [[data.draw(numbers(-8, 8)) for _ in axes] for _ in range(2)]
    whole = [(0, 2**40) if s > 0 else (2**40, -(2**40)) for s in steps]
    taken = [len(range(shape[a])[slice(b, e, s)]) for a, b, e, s in zip(axes, starts, ends, steps)]
    starts, ends = ([(w[i] if not t else v[i]) for w, t, v in zip(whole, taken, zip(starts, ends))] for i in (0, 1))  # nothing taken: all
    signed = [a - data.draw(st.sampled_from([0, len(shape)])) for a in axes]
    bounds = [ints(*starts), ints(*ends)] if known else [fed(starts), fed(ends)]
    check(linear("Slice", x(*shape), *bounds, ints(*signed), ints(*steps)), symbolic)


@prop(st.data(), st.sampled_from(["constant", "reflect", "edge", "wrap"]), st.booleans(), st.booleans())
def test_pad(data, mode, known, symbolic):
    shape = data.draw(per_axis(data.draw(numbers(1, 3)), 2, 4))
    axes = data.draw(st.lists(numbers(0, len(shape) - 1), min_size=1, max_size=len(shape), unique=True))
    least = -1 if mode == "constant" else 0
    pads = [data.draw(numbers(least, shape[a] - 1)) for a in axes * 2]
    assume(all(shape[a] + p + q > 0 for a, p, q in zip(axes, pads, pads[len(axes) :])))
    value = x() if mode == "constant" else None
    check(linear("Pad", x(*shape), ints(*pads) if known else fed(pads), value, ints(*axes), mode=mode), symbolic)


@prop(st.data(), st.sampled_from(["nearest", "linear", "cubic"]), st.sampled_from(["scales", "sizes", "not_larger", "not_smaller", "crop"]), st.booleans())
def test_resize(data, mode, how, symbolic):
    n = data.draw(numbers(1, 3)) if mode == "nearest" else 2
    shape, wanted = (1, 2, *data.draw(per_axis(n, 2, 6))), data.draw(per_axis(n, 1, 9))
    axes = list(range(2, n + 2))
    attributes = {
        "mode": mode,
        "coordinate_transformation_mode": "tf_crop_and_resize" if how == "crop" else data.draw(st.sampled_from(COORDINATES)),
        "nearest_mode": data.draw(st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])),
        "antialias": data.draw(numbers(0, 1)) if mode != "nearest" and how != "crop" else 0,
        "exclude_outside": data.draw(numbers(0, 1)) if mode == "cubic" else 0,
        "cubic_coeff_a": data.draw(st.sampled_from([-0.75, -0.5])),
    }
    roi = scales = sizes = None
    if how == "scales":
        # Half a cell more: w / d itself rounds to w or to w - 1 cells, differently in ONNX's inference and in ONNX Runtime.
        scales = np.array([1, 1, *((w + 0.5) / d for w, d in zip(wanted, shape[2:]))], np.float32)
    else:
        sizes, attributes["axes"] = ints(*wanted), axes
    if how == "crop":
        starts, ends = data.draw(per_axis(n, -1, 2)), data.draw(per_axis(n, 5, 9))
        roi, attributes["extrapolation_value"] = np.array([*starts, *ends], np.float32) / 7, 0.5
    elif how.startswith("not"):
        attributes["keep_aspect_ratio_policy"] = how
        scale = (min if how == "not_larger" else max)(w / d for w, d in zip(wanted, shape[2:]))
        assume(all(scale * d >= 0.6 for d in shape[2:]))  # nothing is left of an axis that rounds to none
    check(linear("Resize", x(*shape), roi, scales, sizes, **attributes), symbolic)


# ---- recurrent nodes, against NumPy in float64 ----


@st.composite
def recurrent_nodes(draw, op_type):
    direction, layout = draw(st.sampled_from(["forward", "reverse", "bidirectional"])), draw(numbers(0, 1))
    time, batch, *_ = sizes = draw(per_axis(4, 1, 4))
    every = "bhcp" if op_type == "LSTM" else "bh"
    facts = {"sizes": sizes, "scale": 0.4, "direction": direction, "layout": layout, "given": "".join(c for c in every if draw(st.booleans()))}
    facts["lens"] = draw(st.none() | per_axis(batch, 1, time))
    names = ["Y", "Y_h", "Y_c"][: 3 if op_type == "LSTM" else 2]
    asked = [n if draw(st.booleans()) else "" for n in names]
    facts["outputs"] = asked if any(asked) else names
    if draw(st.booleans()):
        facts["activations"] = draw(per(len(DEFAULTS[op_type]), ["Sigmoid", "Tanh", "Relu", "Softsign", "Softplus", *GIVEN]))
        twice = facts["activations"] * (2 if direction == "bidirectional" else 1)
        for k, name in enumerate(("alpha", "beta")):
            facts[f"activation_{name}"] = [GIVEN[a][k] for a in twice if len(GIVEN.get(a, ())) > k] or None
    if draw(st.booleans()):
        facts["clip"] = draw(st.sampled_from([0.5, 1.5]))
    if op_type != "RNN" and draw(st.booleans()):
        facts["linear_before_reset" if op_type == "GRU" else "input_forget"] = 1
    return {k: v for k, v in facts.items() if v is not None}


def per(n, choices):
    return st.lists(st.sampled_from(choices), min_size=n, max_size=n)


def check_recurrent(op_type, facts, rng, symbolic):
    try:
        check_vjp.check(drawn(op_type, rng, **facts), symbolic=symbolic)
    except check_vjp.Inconclusive:  # on a kink of an activation or of the clipping
        assume(False)


@prop(recurrent_nodes("LSTM"), SEEDS, st.booleans())
def test_lstm(facts, rng, symbolic):
    check_recurrent("LSTM", facts, rng, symbolic)


@prop(recurrent_nodes("GRU"), SEEDS, st.booleans())
def test_gru(facts, rng, symbolic):
    check_recurrent("GRU", facts, rng, symbolic)


@prop(recurrent_nodes("RNN"), SEEDS, st.booleans())
def test_rnn(facts, rng, symbolic):
    check_recurrent("RNN", facts, rng, symbolic)
