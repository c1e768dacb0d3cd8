import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mammofast.engine import device, load_engine
from mammofast.engine.tensorrt import build, check_builder, import_flavour, require_card, session, weights
from mammofast.errors import EngineError
from tests.engine import fake_tensorrt
from tests.engine.fake_card import FakeCard

RTX = "tensorrt-rtx"
try:
    import_flavour(RTX)
except ImportError:
    pytest.skip("TensorRT for RTX is not installed", allow_module_level=True)

PROFILE = {"x": ((1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 8, 8))}


def network(op="Relu", inputs=("x",), **attributes):
    """One operator, named like a layer, over images whose number is free."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    boxes = numpy_helper.from_array(np.zeros((1, 4), np.float32), "boxes")
    index = numpy_helper.from_array(np.zeros(1, np.int64), "index")
    node = helper.make_node(op, list(inputs), ["y"], name="the_node", **attributes)
    graph = helper.make_graph([node], "g", [x], [y], [boxes, index])
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()


def no_card():
    try:
        require_card(RTX)
    except EngineError:
        return True
    return False


def test_an_engine_is_built_for_the_cards_that_are_named():
    steps = []
    built = build(
        network(), RTX, [PROFILE], compute_capabilities=["7.5", "8.9"], report=lambda *step: steps.append(step)
    )
    assert built.target == "sm_75,sm_89"
    assert set(built.versions) == {RTX}
    assert len(built.engine) > 1000
    assert steps
    assert all(done <= total for _, done, total in steps)


def test_without_a_name_it_is_for_all_cards_from_ampere_on():
    assert build(network(), RTX, [PROFILE]).target == "sm_80+ptx"


@pytest.mark.parametrize(
    "model, words",
    [
        (b"nonsense", "cannot read the network.*Failed to parse"),
        (
            network("Bernoulli"),
            r"Bernoulli \(node 'the_node'\): this operator is not supported.*Compile for onnxruntime",
        ),
        (network("Frob"), r"Frob \(node 'the_node'\): .*Plugin not found.*cut the network there"),
    ],
)
def test_what_the_parser_refuses_is_named(model, words):
    with pytest.raises(EngineError, match=words):
        build(model, RTX, [PROFILE])


@pytest.mark.skipif(not no_card(), reason="with a card the plugin is there")
def test_roi_align_needs_a_card_and_the_error_says_which_node():
    model = network("RoiAlign", ("x", "boxes", "index"), output_height=2, output_width=2)
    with pytest.raises(EngineError, match=r"RoiAlign \(node 'the_node'\)"):
        build(model, RTX, [PROFILE])


def test_a_profile_out_of_order_is_refused():
    shapes = PROFILE["x"]
    with pytest.raises(EngineError, match=r"could not build the network|smallest <= usual <= largest"):
        build(network(), RTX, [{"x": (shapes[2], shapes[1], shapes[0])}])


def test_unknown_cards_and_flavours_are_named():
    with pytest.raises(EngineError, match=r"compute capability: got 3\.0, tensorrt-rtx builds for 7\.5, 8\.0"):
        check_builder(RTX, ["8.6", "3.0"])
    with pytest.raises(EngineError, match="backend: got 'abacus'"):
        check_builder("abacus")


def test_the_rtx_flavour_has_no_timing_cache():
    with pytest.raises(EngineError, match="has none"):
        build(network(), RTX, [PROFILE], timing_cache=b"")


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    for name in ("tensorrt", "tensorrt_bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EngineError, match=r'tensorrt is not installed .*pip install "mammofast\[tensorrt\]"'):
        check_builder("tensorrt")
    with pytest.raises(EngineError, match=r"'tensorrt' is not installed .*mammofast\[tensorrt\]"):
        load_engine(b"", "tensorrt", "cuda")


def test_a_placeholder_package_is_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
    monkeypatch.setitem(sys.modules, "tensorrt_bindings", None)
    with pytest.raises(EngineError, match="placeholder"):
        check_builder("tensorrt")


def test_an_engine_asked_to_run_on_the_cpu_says_where_it_runs():
    with pytest.raises(EngineError, match=r"device: got 'cpu', expected one of \['cuda'\].*mammofast compile"):
        load_engine(b"", RTX, "cpu")


@pytest.mark.skipif(not no_card(), reason="there is a card")
def test_loading_without_a_driver_says_what_is_missing():
    engine = build(network(), RTX, [PROFILE]).engine
    with pytest.raises(EngineError, match=r"needs an NVIDIA (driver|card).*compile for onnxruntime"):
        load_engine(engine, RTX, "cuda")


@pytest.mark.skipif(not no_card(), reason="there is a card")
def test_a_built_engine_is_read_as_far_as_there_is_no_card(monkeypatch):
    """With a card and pycuda that are not there, the package itself gets to say why it cannot go on."""
    card = FakeCard()
    monkeypatch.setattr(session, "require_card", lambda flavour, index: "sm_90")
    monkeypatch.setitem(sys.modules, "pycuda", SimpleNamespace(driver=card.pycuda))
    monkeypatch.setitem(sys.modules, "pycuda.driver", card.pycuda)
    device.card.cache_clear()
    engine = build(network(), RTX, [PROFILE]).engine
    with pytest.raises(EngineError, match=r"does not fit this machine .*gives no reason.*mammofast compile"):
        load_engine(engine, RTX, "cuda")
    monkeypatch.setattr(weights, "_check_fit", lambda *arguments: None)
    with pytest.raises(EngineError, match=r"tensorrt-rtx [\d.]+ cannot read the engine: .*CUDA driver"):
        load_engine(engine, RTX, "cuda")
    device.card.cache_clear()


@pytest.mark.parametrize(
    "fake, real",
    [
        ("Runtime", "Runtime"),
        ("RtxRuntime", "Runtime"),
        ("Engine", "ICudaEngine"),
        ("RtxEngine", "ICudaEngine"),
        ("Context", "IExecutionContext"),
        ("RtxContext", "IExecutionContext"),
        *((name, name) for name in ("TensorIOMode", "DataType", "EngineStat", "EngineValidity", "CudaGraphStrategy")),
        *((name, name) for name in ("ExecutionContextAllocationStrategy", "EngineInvalidityDiagnostics")),
        ("DynamicShapesKernelSpecializationStrategy", "DynamicShapesKernelSpecializationStrategy"),
    ],
)
def test_the_fake_package_has_nothing_that_the_real_one_lacks(fake, real):
    """What the sessions' tests rely on; the fake's own attributes are set in its __init__."""
    kind = getattr(fake_tensorrt, fake)
    public = {name for name in vars(kind) if not name.startswith("_")}
    assert public - set(dir(getattr(import_flavour(RTX), real))) == set()


def test_a_real_contexts_settings_are_those_of_the_fake():
    trt = import_flavour(RTX)
    used = {"set_execution_context_allocation_strategy", "create_runtime_cache", "set_runtime_cache"}
    used |= {"dynamic_shapes_kernel_specialization_strategy", "cuda_graph_strategy"}
    assert used - set(dir(trt.IRuntimeConfig)) == set()
    assert {"create_runtime_config", "device_memory_size_v2", "num_optimization_profiles"} <= set(dir(trt.ICudaEngine))
    assert trt.nptype(trt.DataType.FLOAT) is np.float32
    with pytest.raises(TypeError):
        trt.nptype(trt.DataType.BF16)


def test_the_network_is_strongly_typed():
    """The same network in fp16 makes a smaller engine: there is no flag that could say otherwise."""
    sizes = {}
    for kind in (np.float32, np.float16):
        weights = numpy_helper.from_array(np.ones((512, 3, 16, 16), kind), "w")
        numbers = TensorProto.FLOAT if kind is np.float32 else TensorProto.FLOAT16
        x = helper.make_tensor_value_info("x", numbers, ["n", 3, 32, 32])
        y = helper.make_tensor_value_info("y", numbers, ["n", 512, 17, 17])
        graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"])], "g", [x], [y], [weights])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.checker.check_model(model)
        shape = (1, 3, 32, 32)
        sizes[kind] = len(build(model.SerializeToString(), RTX, [{"x": (shape, shape, shape)}]).engine)
    assert sizes[np.float32] - sizes[np.float16] > 0.5 * 512 * 3 * 16 * 16 * 2
