import pickle

import numpy as np
import pytest
import torch
from onnx import TensorProto

from mammofast.compilation.adapters import Mapped, adapt
from mammofast.compilation.onnx_files import read_onnx
from mammofast.compilation.sources import from_onnx
from mammofast.engine import load_engine
from mammofast.errors import EngineError


def test_a_sound_file_says_what_it_takes(segmenter_file):
    content, interface = read_onnx(segmenter_file())
    assert (interface.input, interface.outputs) == ("pixels", ("scores",))
    assert (interface.batch, interface.channels, interface.sizes()) == (None, 1, ((32, 32),))
    assert content == segmenter_file().read_bytes()


def test_what_is_not_onnx_is_named(tmp_path):
    torch.save({"w": torch.zeros(1)}, tmp_path / "a.onnx")
    (tmp_path / "b.onnx").write_bytes(pickle.dumps({"w": 1}))
    (tmp_path / "c.onnx").write_bytes(b"\xff" * 100)
    (tmp_path / "d.onnx").write_bytes(b"")
    for name, words in {
        "a": "not an ONNX file but a zip, such as PyTorch's",
        "b": "not an ONNX file but a pickle, which is never opened",
        "c": "not an ONNX file",
        "d": "is empty",
        "e": "cannot be read: No such file",
    }.items():
        with pytest.raises(EngineError, match=words):
            read_onnx(tmp_path / f"{name}.onnx")


def test_a_file_cut_off_is_refused(segmenter_file):
    path = segmenter_file()
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(EngineError, match=r"not an ONNX file, or it was cut off|not a sound ONNX file"):
        read_onnx(path)


def test_weights_outside_are_refused_with_the_way_out(outside):
    with pytest.raises(EngineError, match=r"weights outside the file: 'w' and 1 more .* save_as_external_data=False"):
        read_onnx(outside)


def test_fp16_inputs_are_refused(segmenter_file):
    with pytest.raises(EngineError, match=r"'pixels' is FLOAT16, expected FLOAT: export in fp32"):
        read_onnx(segmenter_file(kind=TensorProto.FLOAT16))


def test_an_unknown_operator_is_named(segmenter_file):
    with pytest.raises(EngineError, match="Sharpen"):
        from_onnx(segmenter_file(op="Sharpen", domain="theirs"))


def test_an_open_size_must_be_said(segmenter_file):
    _, interface = read_onnx(segmenter_file())
    with pytest.raises(EngineError, match="say which with --size"):
        type(interface)("pixels", None, 1, None, 32, ("scores",)).sizes()


@pytest.mark.parametrize(
    "text, mapped",
    [
        ("logits", Mapped("logits")),
        ("logits:softmax", Mapped("logits", "softmax")),
        ("a/b:sigmoid:0", Mapped("a/b", "sigmoid", 0)),
    ],
)
def test_outputs_are_read_from_words(text, mapped):
    assert Mapped.parse(text) == mapped


@pytest.mark.parametrize("text", ["", ":softmax", "y:relu", "y:softmax:one", "y:softmax:1:2"])
def test_other_words_are_refused(text):
    with pytest.raises(EngineError, match="expected TENSOR"):
        Mapped.parse(text)


@pytest.mark.parametrize(
    "activation, expected",
    [
        ("softmax", lambda x: 1 / (1 + np.exp(-(8 * x - 4)))),
        ("sigmoid", lambda x: 1 / (1 + np.exp(-(4 * x - 2)))),
        ("tanh", lambda x: (4 * x - 1) / 2),
        ("none", lambda x: 4 * x - 2),
    ],
)
def test_an_adapted_file_gives_what_a_method_asks_for(segmenter_file, activation, expected):
    model = adapt(segmenter_file().read_bytes(), "image", {"mask": Mapped("scores", activation, 1)})
    x = np.random.default_rng(0).random((2, 1, 32, 32), np.float32)
    with load_engine(model, "onnxruntime") as engine:
        assert [spec.name for spec in engine.inputs + engine.outputs] == ["image", "mask"]
        np.testing.assert_allclose(engine.run({"image": x})["mask"], expected(x), atol=1e-6)


def test_names_may_be_swapped(segmenter_file):
    """The file's own names may be the method's names of other things."""
    model = adapt(segmenter_file().read_bytes(), "scores", {"pixels": Mapped("scores")})
    with load_engine(model, "onnxruntime") as engine:
        found = engine.run({"scores": np.ones((1, 1, 32, 32), np.float32)})
    assert set(np.unique(found["pixels"])) == {-2, 2}


def test_an_output_that_is_not_there_is_named(segmenter_file):
    with pytest.raises(EngineError, match=r"the file has no \['logits'\], only \['scores'\]"):
        adapt(segmenter_file().read_bytes(), "image", {"mask": Mapped("logits")})


def test_the_number_of_channels_must_fit(segmenter_file):
    with pytest.raises(EngineError, match="has 1 channels, expected 3"):
        from_onnx(segmenter_file(), channels=3)
