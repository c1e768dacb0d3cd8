"""The demo's networks: interface, size, cost."""

import pytest
import torch
from torch import nn

from mammofast.models.compact_nested_unet import CompactNestedUNet
from mammofast.models.compact_yolo import CompactYolo


def multiplications(network, example):
    """Multiply-accumulates of the convolutions in one run."""
    total = 0

    def count(module, _inputs, output):
        nonlocal total
        total += output[0].numel() * module.in_channels * module.kernel_size[0] * module.kernel_size[1]

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        network.eval()(example)
    for hook in hooks:
        hook.remove()
    return total


@pytest.mark.parametrize("shape", [(320, 160), (960, 480), (32, 64)])
def test_detector_has_a_cell_for_every_stride(shape):
    rows, cols = shape
    with torch.no_grad():
        outputs = CompactYolo().eval()(torch.rand(2, 1, rows, cols))
    assert [tuple(o.shape) for o in outputs] == [(2, 18, rows // s, cols // s) for s in (8, 16, 32)]


def test_detector_costs_under_5000_multiplications_a_pixel():
    assert 3000 < multiplications(CompactYolo(), torch.zeros(1, 1, 320, 160)) / (320 * 160) < 5000


def test_segmenter_costs_under_3_giga_multiplications():
    assert multiplications(CompactNestedUNet(), torch.zeros(1, 1, 256, 256)) < 3e9


def test_both_fit_15_megabytes():
    weights = sum(p.numel() for network in (CompactYolo(), CompactNestedUNet()) for p in network.parameters())
    assert 4 * weights < 15e6


def test_segmenter_gives_each_head_while_training_and_their_mean_after():
    network = CompactNestedUNet((8, 8, 16))
    crop = torch.rand(3, 1, 64, 48)
    with torch.no_grad():
        heads = network.train()(crop)
        assert [tuple(h.shape) for h in heads] == [(3, 1, 64, 48)] * 2
        for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.momentum = None
        merged = network.eval()(crop)
        # The same weights with the same statistics: heads asked one by one.
        single = []
        for i in range(2):
            alone = CompactNestedUNet((8, 8, 16)).eval()
            alone.load_state_dict(network.state_dict())
            alone.heads = nn.ModuleList([alone.heads[i]] * 2)
            x = {}
            for j in range(3):
                for level in range(3 - j):
                    x[level, j] = alone.nodes[f"{level}_{j}"](alone._node_input(x, level, j, crop))
            single.append(alone.heads[i](x[0, i + 1]))
    expected = nn.functional.interpolate((single[0] + single[1]) / 2, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(merged, expected)


def test_every_node_sees_all_nodes_left_of_it():
    network = CompactNestedUNet((4, 8, 16, 32))
    inputs = {name: node[0].in_channels for name, node in network.nodes.items()}
    assert inputs == {
        "0_0": 4, "0_1": 4 + 8, "0_2": 2 * 4 + 8, "0_3": 3 * 4 + 8,
        "1_0": 4, "1_1": 8 + 16, "1_2": 2 * 8 + 16,
        "2_0": 8, "2_1": 16 + 32,
        "3_0": 16,
    }  # fmt: skip
