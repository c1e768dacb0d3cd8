"""The conditional GAN: the authors' forward pass step by step; shared batch normalization; the critic's patches."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from mammofast.models import create


@pytest.fixture
def generator():
    torch.manual_seed(4)
    network = create("cgan", width=1 / 8)
    with torch.no_grad():
        for norm in network.norms.values():
            norm.running_mean.uniform_(-0.1, 0.1)
            norm.running_var.uniform_(0.5, 1.5)
            norm.bias.uniform_(-0.1, 0.1)
        for conv in (*network.down, *network.up):
            nn.init.kaiming_normal_(conv.weight)
    return network


def forward(network, image):
    """The order of layers in the authors' code; eval."""

    def norm(x):
        shared = network.norms[{4: "1", 8: "2", 16: "4", 32: "8"}[x.shape[1]]]
        return functional.batch_norm(
            x, shared.running_mean, shared.running_var, shared.weight, shared.bias, False, 0.0, 1e-5
        )

    def down(i, x):
        return functional.conv2d(functional.leaky_relu(x, 0.2), network.down[i].weight, network.down[i].bias, 2, 1)

    def up(i, x):
        return functional.conv_transpose2d(torch.relu(x), network.up[i].weight, network.up[i].bias, 2, 1)

    e1 = network.down[0](image)
    e2 = norm(down(1, e1))
    e3 = norm(down(2, e2))
    e4 = norm(down(3, e3))
    e5 = norm(down(4, e4))
    e6 = norm(down(5, e5))
    e7 = norm(down(6, e6))
    e8 = down(7, e7)
    d1 = torch.cat([norm(up(0, e8)), e7], 1)
    d2 = torch.cat([norm(up(1, d1)), e6], 1)
    d3 = torch.cat([norm(up(2, d2)), e5], 1)
    d4 = torch.cat([norm(up(3, d3)), e4], 1)
    d5 = torch.cat([norm(up(4, d4)), e3], 1)
    d6 = torch.cat([norm(up(5, d5)), e2], 1)
    d7 = torch.cat([norm(up(6, d6)), e1], 1)
    return torch.tanh(up(7, d7))


def test_the_generator_is_the_authors(generator):
    image = torch.rand(2, 3, 256, 256) * 2 - 1
    with torch.no_grad():
        mask = generator.eval()(image)
        torch.testing.assert_close(mask, forward(generator, image))
        assert -1 < mask.min() < -0.2 < 0.2 < mask.max() < 1
        torch.testing.assert_close(generator(image), mask, rtol=0, atol=0)


def test_layers_of_one_width_share_one_normalization(generator):
    assert sum(isinstance(module, nn.BatchNorm2d) for module in generator.modules()) == 4
    generator.train()(torch.rand(1, 3, 512, 256))
    # Of eight widths down, the first and the last have none; going up, all but the last.
    assert {name: int(norm.num_batches_tracked) for name, norm in generator.norms.items()} == {
        "1": 0 + 1,
        "2": 1 + 1,
        "4": 1 + 1,
        "8": 4 + 4,
    }


def test_dropout_is_on_the_first_three_ways_up_while_training(generator, monkeypatch):
    asked = []
    monkeypatch.setattr(functional, "dropout", lambda x, training: asked.append((tuple(x.shape[1:]), training)) or x)
    generator.train()(torch.rand(1, 3, 512, 256))
    generator.eval()(torch.rand(1, 3, 512, 256))
    shapes = [(32, 4, 2), (32, 8, 4), (32, 16, 8), (32, 32, 16), (16, 64, 32), (8, 128, 64), (4, 256, 128)]
    assert asked == [(s, i < 3) for i, s in enumerate(shapes)] + [(s, False) for s in shapes]


def test_a_verdict_sees_70_pixels():
    torch.manual_seed(4)
    critic = create("cgan-discriminator", width=1 / 8).eval()
    pair = torch.rand(1, 6, 256, 256, requires_grad=True)
    verdicts = critic(pair)
    assert verdicts.shape == (1, 1, 30, 30)
    assert 0 < verdicts.min() < verdicts.max() < 1
    verdicts[0, 0, 15, 12].backward()
    rows, cols = (pair.grad.abs().amax(dim=(0, 1, axis)).nonzero().flatten() for axis in (3, 2))
    assert (len(rows), len(cols)) == (70, 70)


def test_the_critic_is_the_authors():
    torch.manual_seed(4)
    critic = create("cgan-discriminator", width=1 / 8)
    norms = [module for module in critic.modules() if isinstance(module, nn.BatchNorm2d)]
    convs = [module for module in critic.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        critic(torch.rand(2, 6, 64, 64))  # statistics that are not 0 and 1
        pair = torch.rand(1, 6, 64, 64)
        x = convs[0](pair)
        for conv, norm in zip(convs[1:4], norms, strict=True):
            x = norm.eval()(conv(functional.leaky_relu(x, 0.2)))
        logits = convs[4](functional.leaky_relu(x, 0.2))
        torch.testing.assert_close(critic.eval()(pair), 1 / (1 + torch.exp(-logits)))
    assert [conv.stride[0] for conv in convs] == [2, 2, 2, 1, 1]
