"""Pictures are moved by the map that the formula says, each by its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform

from varied.errors import VariedError
from varied.nets.random_affine import USUAL, RandomAffine, RandomAffineInput, add_random_affine


@pytest.mark.parametrize("size", [(20, 20), (24, 15)])
def test_a_picture_is_moved_as_scipy_moves_it(size, monkeypatch):
    x = torch.zeros(1, 1, *size)
    x[..., 6:14, 5:9] = torch.rand(8, 4)
    chances = torch.tensor([0.5, 0.6, -0.4, 0.3, -0.7, 0.8])
    monkeypatch.setattr(torch, "rand", lambda *_, **__: (chances[:, None] + 1) / 2)
    made = RandomAffine(shift=0.1, turn=30, stretch=0.2, slant=0.4)(x)[0, 0].numpy()

    angle, k = np.radians(30) * 0.5, 0.4 * 0.8
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.array([[1, k], [0, 1]]) @ np.diag(np.exp([0.2 * 0.3, 0.2 * -0.7]))
    along = linear[::-1, ::-1]  # scipy counts rows first
    middle = (np.array(size) - 1) / 2
    offset = middle - along @ middle + 0.1 * np.array([-0.4, 0.6]) * size
    wanted = affine_transform(x[0, 0].numpy(), along, offset, order=1, mode="nearest")
    np.testing.assert_allclose(made, wanted, atol=1e-5)


def test_each_picture_has_moves_of_its_own_that_its_dice_decide():
    x = torch.rand(1, 1, 9, 9).expand(4, 1, 9, 9)
    made = USUAL(x, torch.Generator().manual_seed(3))
    assert torch.equal(made, USUAL(x, torch.Generator().manual_seed(3)))
    assert not torch.equal(made, USUAL(x, torch.Generator().manual_seed(4)))
    assert len({row.sum().item() for row in made}) == 4
    torch.testing.assert_close(USUAL.times(0)(x), x)


def test_a_net_sees_moved_pictures_while_it_learns_and_then_as_they_are():
    net = add_random_affine(torch.nn.Identity(), (1, 9, 9), 1)
    assert isinstance(net, RandomAffineInput)
    x = torch.rand(2, 1, 9, 9)
    assert not torch.allclose(net(x), x)
    assert net.eval()(x) is x


def test_what_is_no_picture_is_not_moved():
    net = torch.nn.Identity()
    assert add_random_affine(net, (5,), 0) is net
    with pytest.raises(VariedError, match=r"these data have shape \(5,\)"):
        add_random_affine(net, (5,), 1)
    with pytest.raises(VariedError, match="1 is usual"):
        add_random_affine(net, (1, 9, 9), -1)
