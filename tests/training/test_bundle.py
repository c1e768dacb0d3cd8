import pytest

from mammofast.bundles import load_bundle
from mammofast.errors import BundleError, TrainingError
from mammofast.training.bundle import write_bundle
from mammofast.training.checkpoint import read_checkpoint, write_checkpoint


def with_bundle(run, path, **changes):
    tensors, facts = read_checkpoint(run.weights)
    facts.pop("format")
    facts["bundle"] = None if changes.get("method", "") is None else {**facts["bundle"], **changes}
    write_checkpoint(path, tensors, facts)
    return path


def test_an_earlier_stage_makes_a_bundle_too(trained, tmp_path):
    """P3 reports FCN-32s, 16s and 8s, which are one training's stages."""
    run = trained("p3-fcn")
    write_bundle({"segmenter": run.out / "fcn32s.safetensors"}, tmp_path / "32s")
    write_bundle({"segmenter": run.out}, tmp_path / "8s", name="mine")
    coarse, fine = load_bundle(tmp_path / "32s"), load_bundle(tmp_path / "8s")
    assert (coarse.name, fine.name) == ("p3-fcn", "mine")
    assert coarse.id != fine.id
    assert coarse.parameters["tile"] == [96, 96]


def test_stages_carry_weights_over(trained):
    run = trained("p3-dilation10")
    front, context, both = (read_checkpoint(run.out / f"{n}.safetensors")[0] for n in ("front", "context", "global"))
    shared = [key for key in front if key.startswith(("features.", "head."))]
    assert shared
    assert all((front[key] == context[key]).all() for key in shared), "the front end is frozen while the context learns"
    assert any((context[key] != both[key]).any() for key in shared), "and learns with it in the end"
    assert any((context[key] != both[key]).any() for key in context if key.startswith("context."))


def test_what_does_not_fit_is_refused(trained, tmp_path):
    run = trained("p2-aunet")
    out = tmp_path / "bundle"
    for changes, words in [
        ({"method": None}, "recipe 'p2-aunet' trains for no method"),
        ({"role": "detector"}, "which is for the role 'detector'"),
        ({"parameters": {"threshold": 2}}, "threshold: got 2"),
    ]:
        other = with_bundle(run, tmp_path / "other.safetensors", **changes)
        with pytest.raises((TrainingError, BundleError), match=words):
            write_bundle({"segmenter": other}, out)
    two = with_bundle(run, tmp_path / "two.safetensors", method="two_stage")
    with pytest.raises(TrainingError, match="a bundle of two_stage has a detector too"):
        write_bundle({"segmenter": two}, out)
    one = with_bundle(
        run, tmp_path / "one.safetensors", method="two_stage", role="detector", parameters={"box": "mask"}
    )
    with pytest.raises(TrainingError, match="expected one method's"):
        write_bundle({"segmenter": run.out, "detector": one}, out)
    two = with_bundle(run, tmp_path / "two.safetensors", method="two_stage", parameters={"box": "fused"})
    with pytest.raises(TrainingError, match="was trained for box = 'fused', another network of the bundle for 'mask'"):
        write_bundle({"detector": one, "segmenter": two}, out)
    assert not out.exists()
