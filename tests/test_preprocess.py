"""Images, arrays and tables as a model's inputs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers import parse
from onnx import TensorProto, helper
from PIL import Image

import onnxplain
from onnxplain.errors import InputError
from onnxplain.inputs import read
from onnxplain.preprocess import Preprocessing
from onnxplain.tape import Type

F32 = np.dtype(np.float32)


def identity(shape, dtype=TensorProto.FLOAT, extra=()):
    """A model whose input has this shape."""
    inputs = [helper.make_tensor_value_info("x", dtype, shape), *(helper.make_tensor_value_info(n, dtype, shape) for n in extra)]
    nodes = [helper.make_node("Sum", ["x", *extra], ["y"])] if extra else [helper.make_node("Identity", ["x"], ["y"])]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("y", dtype, shape)])
    return onnxplain.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9))


def image(path, pixels, **options):
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path, **options)
    return path


# ---- settings ----


@pytest.mark.parametrize(
    ("shape", "layout", "color", "size"),
    [
        (["N", 3, 24, 32], "NCHW", "RGB", [24, 32]),
        (["N", 24, 32, 3], "NHWC", "RGB", [24, 32]),
        (["N", 1, 28, 28], "NCHW", "gray", [28, 28]),
        (["N", 28, 28, 1], "NHWC", "gray", [28, 28]),
        (["N", 3, "H", "W"], "NCHW", "RGB", None),
        (["N", 3, 5, 3], "NCHW", "RGB", [5, 3]),
    ],
)
def test_inferred_from_the_input(shape, layout, color, size):
    p = Preprocessing.of(Type.tensor(np.float32, shape))
    assert (p.layout, p.color, p.size, p.scale) == (layout, color, size, 1 / 255)


def test_an_integer_input_takes_pixels_as_they_are():
    assert Preprocessing.of(Type.tensor(np.uint8, ["N", 3, 4, 4])).scale == 1


def test_pixels_that_an_integer_input_cannot_hold(tmp_path):
    bright = np.full([2, 2, 1], 200, np.uint8)
    with pytest.raises(InputError, match="pixels become 200 to 200, which int8 cannot hold"):
        Preprocessing(color="gray", scale=1.0).array(bright, np.dtype(np.int8))
    assert Preprocessing(color="gray", scale=1.0, mean=128).array(bright, np.dtype(np.int8)).max() == 72


def test_file_beside_the_model_and_flags_over_it(tmp_path):
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    (tmp_path / "net.json").write_text(json.dumps({"mean": 0.5, "std": [0.1, 0.2, 0.3], "labels": "names.txt"}))
    wanted = Type.tensor(np.float32, ["N", 3, 4, 4])
    p = Preprocessing.of(wanted, tmp_path / "net.onnx", mean=0.25)
    assert (p.mean, p.std, p.labels) == (0.25, [0.1, 0.2, 0.3], ["cat", "dog"])
    (tmp_path / "other.json").write_text("{}")
    assert Preprocessing.of(wanted, tmp_path / "net.onnx", tmp_path / "other.json").mean == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"layuot": "NCHW"}, "did you mean 'layout'"),
        ({"layout": "CHWN"}, "layout"),
        ({"color": "CMYK"}, "color"),
        ({"mean": [1, 2]}, "one finite number or 3"),
        ({"std": 0}, "must not be zero"),
        ({"scale": "x"}, "scale"),
        ({"size": [3]}, "height, width"),
        ({"labels": [1, 2]}, "labels"),
        ({"labels": 5}, "labels must be a list of names, or the path of a text file, got 5"),
        ({"labels": "nowhere.txt"}, "nowhere.txt"),
        ([], "JSON object"),
    ],
)
def test_bad_settings_are_named(tmp_path, settings, said):
    (tmp_path / "s.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match=said):
        Preprocessing.of(Type.tensor(np.float32, ["N", 3, 4, 4]), settings=tmp_path / "s.json")


def test_broken_settings(tmp_path):
    (tmp_path / "s.json").write_text("{")
    with pytest.raises(InputError, match="not a JSON file"):
        Preprocessing.of(Type.tensor(np.float32, ["N", 3, 4, 4]), settings=tmp_path / "s.json")


# ---- pixels ----


def test_values_layout_and_channel_order(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 3))
    path = image(tmp_path / "a.png", pixels)
    mean, std = np.array([0.1, 0.2, 0.3]), np.array([0.5, 0.6, 0.7])
    rgb = Preprocessing(mean=mean.tolist(), std=std.tolist())
    np.testing.assert_allclose(rgb.array(rgb.picture(path), F32), ((pixels / 255 - mean) / std).transpose(2, 0, 1), rtol=1e-6, atol=1e-6)
    bgr = Preprocessing(layout="NHWC", color="BGR", scale=1.0, mean=[104, 117, 123])
    np.testing.assert_array_equal(bgr.array(bgr.picture(path), F32), pixels[..., ::-1] - np.array([104, 117, 123]))


def test_gray_alpha_and_sixteen_bits(tmp_path):
    gray = Preprocessing(color="gray")
    assert gray.picture(image(tmp_path / "a.png", np.full((2, 2, 4), 200))).shape == (2, 2, 1)
    Image.fromarray(np.array([[0, 257 * 100], [257 * 200, 65535]], np.uint16)).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(gray.picture(tmp_path / "deep.png")[..., 0], [[0, 100], [200, 255]])


def test_a_phone_s_photo_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = image(tmp_path / "a.jpg", np.zeros((4, 8, 3)), exif=exif)
    assert Preprocessing().picture(path).shape == (8, 4, 3)


def test_squash_and_crop(tmp_path):
    pixels = np.zeros((20, 40, 3))
    pixels[:, 8:32] = 255
    path = image(tmp_path / "a.png", pixels)
    squashed = Preprocessing(size=[10, 10]).picture(path)
    assert squashed.shape == (10, 10, 3)
    assert squashed.min() == 0
    cropped = Preprocessing(size=[10, 10], resize="crop").picture(path)
    assert (cropped == 255).all()
    assert Preprocessing(size=[10, 10], resize="crop", short_side=20).picture(path).shape == (10, 10, 3)
    with pytest.raises(InputError, match="short_side 5"):
        Preprocessing(size=[10, 10], resize="crop", short_side=5).picture(path)


def test_broken_images(tmp_path):
    whole = image(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (50, 50, 3))).read_bytes()
    for name, data in {"cut.png": whole[: len(whole) // 2], "empty.png": b"", "text.png": b"hello"}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=name):
            Preprocessing().picture(tmp_path / name)


# ---- files ----


def test_several_images_are_one_batch(tmp_path):
    files = [image(tmp_path / f"{k}.png", np.full((4, 4, 3), 51 * k)) for k in range(3)]
    model = identity(["N", 3, 4, 4])
    batch = read(files, model, Preprocessing.of(model.inputs["x"]))
    np.testing.assert_allclose(batch.feeds["x"][:, 0, 0, 0], [0, 0.2, 0.4], atol=1e-6)
    assert batch.names == ["0.png", "1.png", "2.png"]
    assert batch.pictures is not None


def test_pixels_of_a_flat_input(tmp_path):
    model = identity([1, 16, 1])
    batch = read([image(tmp_path / "a.png", np.arange(16).reshape(4, 4))], model, Preprocessing(color="gray", scale=1.0))
    np.testing.assert_array_equal(batch.feeds["x"], np.arange(16).reshape(1, 16, 1))


def test_arrays_by_sample_and_by_batch(tmp_path):
    model = identity(["N", 3])
    np.save(tmp_path / "one.npy", np.ones(3))
    np.save(tmp_path / "two.npy", np.zeros((2, 3)))
    batch = read([tmp_path / "one.npy", tmp_path / "two.npy"], model, Preprocessing())
    assert batch.feeds["x"].shape == (3, 3)
    assert batch.names == ["one.npy", "two.npy[0]", "two.npy[1]"]
    np.save(tmp_path / "bad.npy", np.zeros((2, 2, 2)))
    with pytest.raises(InputError, match=r"\[2, 2, 2\]"):
        read([tmp_path / "bad.npy"], model, Preprocessing())


def test_npz_by_name_or_alone(tmp_path):
    np.savez(tmp_path / "a.npz", whatever=np.ones((2, 3)))
    assert read([tmp_path / "a.npz"], identity(["N", 3]), Preprocessing()).feeds["x"].shape == (2, 3)
    two = identity(["N", 3], extra=["z"])
    np.savez(tmp_path / "b.npz", x=np.ones((2, 3)), z=np.ones((2, 3)))
    assert set(read([tmp_path / "b.npz"], two, Preprocessing()).feeds) == {"x", "z"}
    with pytest.raises(InputError, match="lacks the model's input 'x', 'z'"):
        read([tmp_path / "a.npz"], two, Preprocessing())
    with pytest.raises(InputError, match="2 inputs"):
        read([image(tmp_path / "a.png", np.zeros((2, 2)))], two, Preprocessing())


def test_one_array_and_several_are_told_apart(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones((1, 3)))
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.ones((1, 3)))
    (tmp_path / "b.npy").rename(tmp_path / "b.npz")
    for name, said in {"a.npy": "not a .npy file: it holds arrays by name", "b.npz": "not a .npz file: it holds one array"}.items():
        with pytest.raises(InputError, match=said):
            read([tmp_path / name], identity(["N", 3]), Preprocessing())


def test_tables(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("age, fare\n1,2\n3,4\n")
    batch = read([path], identity(["N", 2]), Preprocessing())
    np.testing.assert_array_equal(batch.feeds["x"], [[1, 2], [3, 4]])
    assert batch.features == ["age", "fare"]
    path.write_text("1,2,3,4\n")
    assert read([path], identity(["N", 2, 2]), Preprocessing()).feeds["x"].shape == (1, 2, 2)
    assert read([path], identity(["N", "T", 2]), Preprocessing()).feeds["x"].shape == (1, 2, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "no rows"), ("a,b\n", "no rows"), ("1,2\n3\n", "row 2: 1 columns"), ("1,x\n", "'x' is not a number"), ("1,2,3\n", "3 columns; input 'x'")],
)
def test_bad_tables(tmp_path, text, said):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        read([tmp_path / "a.csv"], identity(["N", 2]), Preprocessing())


def test_bad_files(tmp_path):
    model = identity(["N", 3])
    (tmp_path / "a.npy").write_bytes(b"junk")
    (tmp_path / "a.npz").write_bytes(b"junk")
    np.save(tmp_path / "object.npy", np.array([{}]), allow_pickle=True)
    for name in ("a.npy", "a.npz", "object.npy", "missing.npy"):
        with pytest.raises(InputError, match=name):
            read([tmp_path / name], model, Preprocessing())
    with pytest.raises(InputError, match="folder"):
        read([tmp_path], model, Preprocessing())
    with pytest.raises(InputError, match="one sort"):
        read([tmp_path / "a.npy", tmp_path / "a.npz"], model, Preprocessing())


def test_an_npz_that_does_not_tell_its_samples_has_no_names(tmp_path):
    model = onnxplain.load(parse("g (float[N,3] x, float[S,3] s) => (float[N,S] y) { t = Transpose(s)\n y = MatMul(x, t) }"))
    np.savez(tmp_path / "a.npz", x=np.ones((2, 3)), s=np.ones((5, 3)))
    assert read([tmp_path / "a.npz"], model, Preprocessing()).names is None
    np.savez(tmp_path / "b.npz", x=np.ones((2, 3)), s=np.ones((2, 3)))
    assert read([tmp_path / "b.npz"], model, Preprocessing()).names == ["b.npz[0]", "b.npz[1]"]
