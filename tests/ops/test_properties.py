"""VJPs over the whole space of attributes, drawn at random: the same draws in every run."""

from functools import partial

import numpy as np
from cases_interpolation import COORDINATES
from harness import apart, case, check, fed, ints, x
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

bounded = settings(max_examples=40, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
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


@bounded
@given(windows(), st.sampled_from([(1, 2, 1), (2, 4, 2), (2, 2, 3), (4, 8, 1)]), st.booleans())
def test_conv(window, channels, symbolic):
    (extents, attributes), (group, into, per_group) = window, channels
    check(
        linear("Conv", x(2, into, *extents), x(group * per_group, into // group, *attributes["kernel_shape"]), x(group * per_group), group=group, **attributes),
        symbolic,
    )


@bounded
@given(windows(), st.sampled_from([(1, 2, 1), (2, 4, 2), (2, 2, 3)]), st.booleans(), st.data())
def test_conv_transpose(window, channels, symbolic, data):
    (extents, attributes), (group, into, per_group) = window, channels
    padding = [data.draw(numbers(0, s - 1)) for s in attributes["strides"]]
    kernel, strides, dilations, pads = (attributes[k] for k in ("kernel_shape", "strides", "dilations", "pads"))
    n = len(kernel)
    full = [s * (e - 1) + o + d * (k - 1) + 1 - p - q for e, k, s, d, o, p, q in zip(extents, kernel, strides, dilations, padding, pads[:n], pads[n:])]
    assume(min(full) > 0)
    check(
        linear("ConvTranspose", x(1, into, *extents), x(into, per_group, *kernel), x(group * per_group), group=group, output_padding=padding, **attributes),
        symbolic,
    )


def _ends_inside(extents, kernel_shape, strides, dilations, pads):
    """Whether no window would begin behind the input: ONNX Runtime leaves such a window out, ONNX's inference counts it."""
    spans = [(e + p + q - d * (k - 1) - 1, e + p, s) for e, k, s, d, p, q in zip(extents, kernel_shape, strides, dilations, pads, pads[len(strides) :])]
    return all(-(-span // s) * s < inside for span, inside, s in spans)


@bounded
@given(windows(), numbers(0, 1), numbers(0, 1), st.booleans())
def test_average_pool(window, ceil_mode, count_include_pad, symbolic):
    extents, attributes = window
    assume(not ceil_mode or _ends_inside(extents, **attributes))
    check(linear("AveragePool", x(2, 2, *extents), ceil_mode=ceil_mode, count_include_pad=count_include_pad, **attributes), symbolic)


@bounded
@given(windows(), numbers(0, 1), st.booleans())
def test_max_pool(window, ceil_mode, symbolic):
    extents, attributes = window
    assume(not ceil_mode or _ends_inside(extents, **attributes))
    check(case("MaxPool", apart(2, 2, *extents), ceil_mode=ceil_mode, reference=False, step=1e-3, rtol=5e-3, **attributes), symbolic)


@bounded
@given(st.data(), st.booleans(), st.booleans())
def test_gather(data, known, symbolic):
    shape = data.draw(per_axis(data.draw(numbers(1, 3)), 1, 4))
    axis = data.draw(numbers(-len(shape), len(shape) - 1))
    index = np.zeros(data.draw(per_axis(data.draw(numbers(0, 2)), 1, 3)), np.int64)
    index[...] = np.reshape([data.draw(numbers(-shape[axis], shape[axis] - 1)) for _ in range(index.size)], index.shape)
    check(linear("Gather", x(*shape), index if known else fed(index), axis=axis), symbolic)


@bounded
@given(st.data(), st.booleans())
def test_gather_elements(data, symbolic):
    shape = data.draw(per_axis(data.draw(numbers(1, 3)), 1, 4))
    axis = data.draw(numbers(-len(shape), len(shape) - 1))
    wanted = [data.draw(numbers(1, 5)) if a == axis % len(shape) else data.draw(numbers(1, d)) for a, d in enumerate(shape)]
    index = np.reshape([data.draw(numbers(-shape[axis], shape[axis] - 1)) for _ in range(int(np.prod(wanted)))], wanted)
    check(linear("GatherElements", x(*shape), fed(index), axis=axis), symbolic)


@bounded
@given(st.data(), st.booleans(), st.booleans())
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


@bounded
@given(st.data(), st.sampled_from(["constant", "reflect", "edge", "wrap"]), st.booleans(), st.booleans())
def test_pad(data, mode, known, symbolic):
    shape = data.draw(per_axis(data.draw(numbers(1, 3)), 2, 4))
    axes = data.draw(st.lists(numbers(0, len(shape) - 1), min_size=1, max_size=len(shape), unique=True))
    least = -1 if mode == "constant" else 0
    pads = [data.draw(numbers(least, shape[a] - 1)) for a in axes * 2]
    assume(all(shape[a] + p + q > 0 for a, p, q in zip(axes, pads, pads[len(axes) :])))
    value = x() if mode == "constant" else None
    check(linear("Pad", x(*shape), ints(*pads) if known else fed(pads), value, ints(*axes), mode=mode), symbolic)


@bounded
@given(st.data(), st.sampled_from(["nearest", "linear", "cubic"]), st.booleans(), st.booleans())
def test_resize(data, mode, by_scale, symbolic):
    shape = (1, 2, *data.draw(per_axis(2, 2, 6)))
    wanted = data.draw(per_axis(2, 1, 9))
    attributes = {
        "mode": mode,
        "coordinate_transformation_mode": data.draw(st.sampled_from(COORDINATES)),
        "nearest_mode": data.draw(st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])),
        "antialias": data.draw(numbers(0, 1)) if mode != "nearest" else 0,
        "exclude_outside": data.draw(numbers(0, 1)) if mode == "cubic" else 0,
    }
    if by_scale:
        # Half a cell more: w / d itself rounds to w or to w - 1 cells, differently in ONNX's inference and in ONNX Runtime.
        scales = np.array([1, 1, *((w + 0.5) / d for w, d in zip(wanted, shape[2:]))], np.float32)
        check(linear("Resize", x(*shape), None, scales, **attributes), symbolic)
    else:
        check(linear("Resize", x(*shape), None, None, ints(*wanted), axes=[2, 3], **attributes), symbolic)
