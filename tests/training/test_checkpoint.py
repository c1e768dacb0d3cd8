import os
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from mammofast.errors import TrainingError
from mammofast.training.checkpoint import load_optimizer, optimizer_state, read_checkpoint, read_facts, write_checkpoint


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "some.safetensors"
    tensors = {
        "a": torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "scalar": torch.tensor(3),
        "half": torch.rand(3).bfloat16(),
        "bytes": torch.get_rng_state(),
        "empty": torch.zeros(0, 2),
    }
    tensors["same"] = tensors["a"]  # layers may share a module
    facts = {"position": {"epoch": 3, "best": 0.1 + 0.2}, "words": "ü"}
    write_checkpoint(path, tensors, facts)
    found, said = read_checkpoint(path)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[key], tensors[key]) and found[key].dtype == tensors[key].dtype for key in tensors)
    assert said == {"format": 1, **facts}
    assert read_facts(path) == said
    assert [p.name for p in tmp_path.iterdir()] == [path.name], "nothing else is left"


def test_who_may_read_a_checkpoint_says_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_checkpoint(tmp_path / "some.safetensors", {"a": torch.zeros(1)}, {})
    finally:
        os.umask(before)
    assert (tmp_path / "some.safetensors").stat().st_mode & 0o777 == 0o640


def test_what_is_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "some.safetensors"
    write_checkpoint(path, {"a": torch.zeros(100)}, {})
    whole = path.read_bytes()
    for content in (b"", whole[:20], whole[:-1], pickle.dumps({"a": 1}), b"\xff" * 100):
        path.write_bytes(content)
        with pytest.raises(TrainingError, match=r"some.safetensors: is no checkpoint"):
            read_checkpoint(path)
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(TrainingError, match="is no checkpoint"):
        read_facts(path)
    save_file({"a": torch.zeros(1)}, path, metadata={"mammofast": '{"format": 9}'})
    with pytest.raises(TrainingError, match="format 9, expected 1"):
        read_facts(path)
    with pytest.raises(TrainingError, match="cannot be read"):
        read_facts(tmp_path / "none.safetensors")


def test_what_cannot_be_written_says_why(tmp_path):
    with pytest.raises(TrainingError, match=r"^some.safetensors: could not be written \(No such file or directory\)$"):
        write_checkpoint(tmp_path / "none" / "some.safetensors", {"a": torch.zeros(1)}, {})


def test_facts_are_json():
    with pytest.raises(ValueError, match="JSON"):
        write_checkpoint(None, {}, {"measure": float("nan")})


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.Adam(p, 1e-2, amsgrad=True),
        lambda p: torch.optim.AdamW(p, 1e-2),
        lambda p: torch.optim.SGD(p, 1e-2, momentum=0.9, weight_decay=0.1),
        lambda p: torch.optim.SGD(p, 1e-2),
    ],
)
def test_an_optimizer_goes_on(make):
    """An optimizer that was given the state takes the same next step as the one it is from."""

    def step(network, optimizer):
        optimizer.zero_grad()
        network(torch.ones(2, 3)).square().sum().backward()
        optimizer.step()

    torch.manual_seed(0)
    one, other = nn.Linear(3, 4), nn.Linear(3, 4)
    first, second = make(one.parameters()), make(other.parameters())
    for _ in range(3):
        step(one, first)
    other.load_state_dict(one.state_dict())
    load_optimizer(second, {key: tensor.clone() for key, tensor in optimizer_state(first).items()})
    step(one, first)
    step(other, second)
    assert np.array_equal(one.weight.detach(), other.weight.detach())
