"""Whatever a model comes as, it loads to the same graph, and its big weights stay where they are."""

import hashlib
import os
import time

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnxplain
from onnxplain import InputError, InvalidModelError
from onnxplain.session import Session
from onnxplain.tape import Tape

RNG = np.random.default_rng(0)
W = RNG.standard_normal((40, 60)).astype(np.float32)
X = RNG.standard_normal((3, 40)).astype(np.float32)


def parsed(text: str, header: str = 'ir_version: 8, opset_import: ["": 17]') -> onnx.ModelProto:
    return onnx.parser.parse_model(f"<{header}>\n{text}")


def dense(w: np.ndarray = W, raw: bool = True) -> onnx.ModelProto:
    """y = x w + b, with `w` too big to be kept in the light copy."""
    model = parsed("g (float[N, 40] x) => (float[N, 60] y) { h = MatMul (x, w)  y = Add (h, b) }")
    tensor = numpy_helper.from_array(w, "w")
    if not raw:
        tensor = helper.make_tensor("w", tensor.data_type, w.shape, w.ravel().tolist())
    model.graph.initializer.extend([tensor, numpy_helper.from_array(np.float32([1]), "b")])
    return model


def forward(model, **feeds) -> dict[str, np.ndarray]:
    """What the loaded graph computes, as it is written on a tape."""
    graph, tape = onnxplain.load(model).raw, Tape()
    env = graph.write(tape, {n: tape.input(n, t) for n, t in graph.inputs.items()})
    return Session(tape.build({n: env[n] for n in graph.outputs})).run({n: np.asarray(v) for n, v in feeds.items()})


def same(model, proto: onnx.ModelProto, **feeds) -> None:
    """The loaded graph gives what ONNX Runtime gives of the whole proto."""
    wanted = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)
    got = forward(model, **feeds)
    for (name, value), expected in zip(got.items(), wanted, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6, err_msg=name)


# ---- what may be given ----


@pytest.mark.parametrize("form", ["str", "PathLike", "bytes", "bytearray", "memoryview", "ModelProto", "onnx_ir.Model", "Model"])
def test_every_form(form, tmp_path):
    proto, path = dense(), tmp_path / "dense.onnx"
    onnx.save(proto, path)
    data = path.read_bytes()
    model = {
        "str": lambda: str(path),
        "PathLike": lambda: path,
        "bytes": lambda: data,
        "bytearray": lambda: bytearray(data),
        "memoryview": lambda: memoryview(data),
        "ModelProto": lambda: proto,
        "onnx_ir.Model": lambda: ir.load(path),
        "Model": lambda: onnxplain.load(path),
    }[form]()
    same(model, proto, x=X)
    loaded = onnxplain.load(model)
    assert str(loaded.inputs["x"]) == "float32[N, 40]"
    assert str(loaded.outputs["y"]) == "float32[N, 60]"
    assert loaded.name == {"str": "dense", "PathLike": "dense", "Model": "dense", "ModelProto": "g", "onnx_ir.Model": "g"}.get(form, "model")
    if form not in ("ModelProto", "onnx_ir.Model"):
        assert loaded.sha256 == hashlib.sha256(data).hexdigest()
    assert len(loaded.sha256) == 64
    assert proto == dense()  # what was given is left as it was


def test_a_loaded_model_is_taken_as_it_is_or_with_other_settings():
    model = onnxplain.load(dense(), fuse=False, rewrites=["constants"])
    assert onnxplain.load(model) is model
    assert onnxplain.load(model, fuse=False) is model
    other = onnxplain.load(model, fuse="two")
    assert (other.fuse, other.rewrites, other.source) == ("two", frozenset({"constants"}), model.source)
    assert onnxplain.load(model, rewrites=[]).rewrites == frozenset()


def test_a_file_may_be_overwritten_once_it_is_loaded(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(dense(), path)
    model = onnxplain.load(path)
    path.write_bytes(b"")
    same(model, dense(), x=X)


def test_a_digest_is_of_what_was_loaded(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(dense(), path)
    loaded = onnxplain.load(path)
    path.write_bytes(b"other")
    with pytest.raises(InvalidModelError, match="has changed since it was loaded"):
        _ = loaded.sha256
    path.unlink()
    with pytest.raises(InvalidModelError, match="has changed since it was loaded"):
        onnxplain.Explainer(loaded, "gradient").save(tmp_path / "explainer.onnx")


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12, 13, 15, 18, 20, 21, 22, 24, 26, 28])
def test_every_opset(opset):
    model = dense()
    model.opset_import[0].version = opset
    same(model, dense(), x=X)


# ---- where weights may be ----


def test_initializers_that_are_inputs_too():
    model = dense()
    model.ir_version, model.opset_import[0].version = 3, 8
    model.graph.input.extend(helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in model.graph.initializer)
    assert list(onnxplain.load(model).inputs) == ["x"]
    same(model, dense(), x=X)


def test_ir_3_models_need_not_repeat_initializers_as_inputs():
    model = dense()
    model.graph.input.append(helper.make_tensor_value_info("b", TensorProto.FLOAT, [1]))
    onnxplain.load(model)
    model = dense()
    model.ir_version, model.opset_import[0].version = 3, 8
    same(model, dense(), x=X)


def test_weights_behind_identity_and_in_constant_nodes():
    model = parsed("g (float[N, 40] x) => (float[N, 60] y) { w = Identity (v)  y = MatMul (x, w) }")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["v"], value=numpy_helper.from_array(W)))
    same(model, model, x=X)
    assert onnxplain.load(model).raw.constants["v"].nbytes == W.nbytes
    assert [n.op_type for n in onnxplain.load(model).graph().nodes if n.op_type == "Identity"] == []


def test_a_constant_that_is_an_output():
    model = parsed("g (float[N, 40] x) => (float[N, 60] y, float[40, 60] v) { y = MatMul (x, v) }")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["v"], value=numpy_helper.from_array(W)))
    same(model, model, x=X)


@pytest.mark.parametrize("where", ["initializer", "Constant"])
def test_sparse_weights(where):
    flat = np.where(RNG.random(W.size) < 0.9, 0, W.ravel())
    places = np.flatnonzero(flat)
    sparse = helper.make_sparse_tensor(numpy_helper.from_array(flat[places].astype(np.float32), "w"), numpy_helper.from_array(places), W.shape)
    model = parsed("g (float[N, 40] x) => (float[N, 60] y) { y = MatMul (x, w) }")
    if where == "initializer":
        model.graph.sparse_initializer.append(sparse)
    else:
        model.graph.node.insert(0, helper.make_node("Constant", [], ["w"], sparse_value=sparse))
    np.testing.assert_allclose(forward(model, x=X)["y"], X @ flat.reshape(W.shape), rtol=1e-4, atol=1e-5)


def test_weights_in_subgraphs_are_held_outside():
    """Of the same name in both branches, as an initializer and as a Constant node."""
    model = parsed("""
        g (float[N, 40] x, bool c) => (float[N, 60] y) {
            y = If (c) <then_branch = t () => (float[N, 60] a) { a = MatMul (x, w) }, else_branch = e () => (float[N, 60] b) { b = MatMul (x, w) }>
        }""")
    then, other = (a.g for a in model.graph.node[0].attribute)
    then.initializer.append(numpy_helper.from_array(W, "w"))
    other.node.insert(0, helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(-W)))
    for given in (model, model.SerializeToString()):
        loaded = onnxplain.load(given)
        assert sorted(t.nbytes for t in loaded.raw.constants.values()) == [W.nbytes] * 2
        assert loaded.raw.nodes[0].proto.ByteSize() < 1000
        for c in (True, False):
            same(given, model, x=X, c=np.array(c))


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE, TensorProto.INT8, TensorProto.UINT4, TensorProto.INT4])
@pytest.mark.parametrize("form", ["raw", "typed", "external"])
def test_element_types(dtype, form, tmp_path):
    values = RNG.integers(0, 7, (40, 60))
    tensor = helper.make_tensor("w", dtype, values.shape, values.ravel().tolist())
    if form != "typed":
        tensor = numpy_helper.from_array(numpy_helper.to_array(tensor), "w")
        assert tensor.raw_data
    model = parsed("g (float[N, 40] x) => (float[N, 60] y) { v = Cast <to = 1> (w)  y = MatMul (x, v) }", 'ir_version: 10, opset_import: ["": 21]')
    model.graph.initializer.append(tensor)
    path = tmp_path / "m.onnx"
    onnx.save(model, path, save_as_external_data=form == "external", size_threshold=0)
    array = onnxplain.load(path).raw.constants["w"].numpy()
    np.testing.assert_array_equal(array.astype(np.int64), values)
    kept = dtype if dtype != TensorProto.BFLOAT16 else TensorProto.FLOAT  # in which such models are computed
    assert array.dtype == helper.tensor_dtype_to_np_dtype(kept)


def test_numbers_in_typed_fields():
    same(dense(raw=False), dense(), x=X)
    same(dense(raw=False).SerializeToString(), dense(), x=X)


# ---- external data ----


@pytest.fixture
def external(tmp_path):
    """A folder with m.onnx and m.data beside it, small tensors outside too."""
    model = parsed("g (float[N, 40] x) => (float[N, 5, 12] y) { h = MatMul (x, w)  y = Reshape (h, s) }")
    model.graph.initializer.extend([numpy_helper.from_array(W, "w"), numpy_helper.from_array(np.int64([-1, 5, 12]), "s")])
    folder = tmp_path / "model"
    folder.mkdir()
    onnx.save(model, folder / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    assert (folder / "m.data").stat().st_size >= W.nbytes
    return folder


def check_external(path) -> None:
    loaded = onnxplain.load(path)
    assert loaded.raw.types["y"].shape[1:] == (5, 12)  # the small tensor was read, and shapes know of it
    np.testing.assert_allclose(forward(loaded, x=X)["y"].reshape(3, 60), X @ W, rtol=1e-4, atol=1e-5)


def test_external_data_are_memory_mapped(external):
    check_external(external / "m.onnx")
    array = onnxplain.load(external / "m.onnx").raw.constants["w"].numpy()
    while isinstance(array.base, np.ndarray):
        array = array.base
    assert type(array.base).__name__ in ("mmap", "memoryview")


def test_external_data_through_the_links_of_a_cache(external, tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for k, name in enumerate(("m.onnx", "m.data")):
        os.rename(external / name, blobs / f"{k}")
        os.symlink(f"../../blobs/{k}", snapshot / name)
    check_external(snapshot / "m.onnx")


def test_external_data_with_hard_links(external, tmp_path):
    os.link(external / "m.data", tmp_path / "other")
    check_external(external / "m.onnx")


@pytest.mark.parametrize("links", [False, True])
def test_an_onnx_ir_model_with_external_data(external, links, tmp_path):
    if links:
        os.rename(external / "m.data", tmp_path / "blob")
        os.symlink(tmp_path / "blob", external / "m.data")
        os.link(tmp_path / "blob", tmp_path / "blob2")
    proto = onnx.load(external / "m.onnx", load_external_data=False)
    model = ir.from_proto(proto)
    for value in model.graph.initializers.values():
        value.const_value = ir.ExternalTensor(
            "m.data", value.const_value.offset, value.const_value.length, value.dtype, shape=value.shape, name=value.name, base_dir=str(external)
        )
    check_external(model)


def test_unaligned_external_data(external):
    data = (external / "m.data").read_bytes()
    model = onnx.load(external / "m.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        entry = next(e for e in tensor.external_data if e.key == "offset")
        entry.value = str(int(entry.value) + 3)
    (external / "m.data").write_bytes(b"abc" + data)
    onnx.save(model, external / "m.onnx")
    check_external(external / "m.onnx")
    assert onnxplain.load(external / "m.onnx").raw.constants["w"].numpy().flags.aligned


@pytest.mark.slow
def test_more_than_2_gb(tmp_path):
    """An embedding of 2.2 GB, in a file with holes: nothing of it is read but the rows that are looked up."""
    rows, width = 550_000, 1000
    model = parsed("g (int64[N, T] ids) => (float[N, 5] y) { e = Gather (table, ids)  m = ReduceMean <axes = [1], keepdims = 0> (e)  y = MatMul (m, w) }")
    model.graph.initializer.append(numpy_helper.from_array(RNG.standard_normal((width, 5)).astype(np.float32), "w"))
    table = TensorProto(name="table", data_type=TensorProto.FLOAT, dims=[rows, width], data_location=TensorProto.EXTERNAL)
    table.external_data.add(key="location", value="table.bin")
    model.graph.initializer.append(table)
    array = np.memmap(tmp_path / "table.bin", np.float32, "w+", shape=(rows, width))
    assert array.nbytes > 2**31
    array[rows - 1] = 2
    array.flush()
    onnx.save(model, tmp_path / "m.onnx")
    before, start = resident(), time.perf_counter()
    explainer = onnxplain.Explainer(tmp_path / "m.onnx", "gradient")
    assert time.perf_counter() - start < 1
    result = explainer.explain(np.array([[rows - 1, 0]]), target=1)
    np.testing.assert_allclose(result.attribution, np.broadcast_to(numpy_helper.to_array(model.graph.initializer[0])[:, 1] / 2, (1, 2, width)), rtol=1e-5)
    assert resident() - before < 2**29


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# ---- inputs and outputs ----


def test_unknown_axes_get_names():
    def info(name, dims):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)

    nodes = [helper.make_node("Relu", [n], [n + n]) for n in "abc"]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [info("a", [None, 3, None]), info("b", [0, 3, -1]), info("c", [4, "batch"])], [info(n + n, None) for n in "abc"]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    loaded = onnxplain.load(model)
    assert {n: t.shape for n, t in loaded.inputs.items()} == {"a": ("batch_1", 3, "a_2"), "b": ("batch_1", 3, "b_2"), "c": (4, "batch")}
    assert {n: t.shape for n, t in loaded.outputs.items()} == {"aa": ("batch_1", 3, "a_2"), "bb": ("batch_1", 3, "b_2"), "cc": (4, "batch")}
    model.graph.input[1].type.tensor_type.shape.dim[0].dim_param = "N"
    assert {t.shape[0] for t in onnxplain.load(model).inputs.values()} == {"N", 4}


def test_inputs_of_unknown_rank():
    model = parsed("g (float[N] x) => (float[N] y) { y = Relu (x) }")
    model.graph.input[0].type.tensor_type.ClearField("shape")
    assert str(onnxplain.load(model).outputs["y"]) == "float32[?]"


def test_several_inputs_and_outputs_keep_their_order():
    model = parsed("g (float[N, 3] b, float[N, 3] a) => (float[N, 3] z, float[N, 3] y) { y = Add (a, b)  z = Sub (a, b) }")
    loaded = onnxplain.load(model)
    assert list(loaded.inputs) == ["b", "a"]
    assert list(loaded.outputs) == ["z", "y"]


def test_a_model_without_inputs():
    assert onnxplain.load(parsed("g () => (float[2] y) { y = Constant <value_floats = [1.0, 2.0]> () }")).inputs == {}


def test_outputs_that_are_no_tensors():
    model = parsed(
        """g (float[N, 3] x) => (seq(float[N, 3]) s, optional(float[N, 3]) o, float[N, 3] y) {
            s = SequenceConstruct (x, x)  o = Optional (x)  y = Relu (x)
        }"""
    )
    loaded = onnxplain.load(model)
    assert [t.dtype is None for t in loaded.outputs.values()] == [True, True, False]


def test_maps():
    """scikit-learn's classifiers end so."""
    model = parsed(
        "g (float[N, 3] x) => (float[N, 3] p) { p = Softmax (x)  z = ai.onnx.ml.ZipMap <classlabels_int64s = [0, 1, 2]> (p) }",
        'ir_version: 8, opset_import: ["": 15, "ai.onnx.ml": 1]',
    )
    labelled = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    model.graph.output.append(helper.make_value_info("z", helper.make_sequence_type_proto(labelled)))
    got = forward(model, x=X[:, :3])
    np.testing.assert_allclose([list(row.values()) for row in got["z"]], got["p"])


# ---- what is refused ----


def test_settings_are_checked():
    with pytest.raises(InputError, match="fuse must be True, False or 'two', got 'three'"):
        onnxplain.load(dense(), fuse="three")
    with pytest.raises(InputError, match="unknown rewrite 'constant': did you mean 'constants'"):
        onnxplain.load(dense(), rewrites=["constant"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.dims.append(2), "holds 9600 bytes, wanted 19200 for FLOAT"),
        (lambda t: setattr(t, "data_type", 99), "element type 99"),
        (lambda t: t.dims.__setitem__(slice(None), [-40, -60]), r"shape \[-40, -60\]"),
    ],
)
def test_tensors_that_do_not_hold_what_they_say(change, words):
    model = dense()
    change(model.graph.initializer[0])
    with pytest.raises(InvalidModelError, match=f"tensor 'w' .*{words}"):
        onnxplain.load(model.SerializeToString())


def test_an_onnx_ir_model_with_a_hole():
    model = ir.from_proto(dense())
    model.graph.initializers["w"].const_value = None
    with pytest.raises(InvalidModelError, match=r"initializer 'w' of the onnx_ir\.Model has no value"):
        onnxplain.load(model)


def test_a_file_is_found_again_from_another_folder(tmp_path, monkeypatch):
    onnx.save(dense(), tmp_path / "m.onnx")
    monkeypatch.chdir(tmp_path)
    explainer = onnxplain.Explainer("m.onnx", "gradient")
    monkeypatch.chdir("/")
    explainer.save(tmp_path / "explainer.onnx")
    assert (tmp_path / "explainer.onnx").stat().st_size
