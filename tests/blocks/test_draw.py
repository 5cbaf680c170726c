import math

import pytest
import torch

from progcycle.blocks import draw_weight, normal_weight


def test_a_new_weight_has_its_deviation_and_no_other_numbers_than_torch_draws() -> None:
    torch.manual_seed(3)
    weight = normal_weight((200, 50, 3), 0.05)
    torch.manual_seed(3)
    assert torch.equal(weight, torch.randn(200, 50, 3) * 0.05)
    assert weight.std().item() == pytest.approx(0.05, rel=0.02)
    assert abs(weight.mean().item()) < 4 * 0.05 / math.sqrt(30_000)


def test_a_weight_is_drawn_again_in_place() -> None:
    weight = torch.zeros(30_000)
    draw_weight(weight, 1.0, 0.02)
    assert weight.mean().item() == pytest.approx(1.0, abs=4 * 0.02 / math.sqrt(30_000))
    assert weight.std().item() == pytest.approx(0.02, rel=0.02)


def test_on_the_meta_device_nothing_is_drawn() -> None:
    state = torch.get_rng_state()
    with torch.device("meta"):
        weight = normal_weight((4, 3), 0.05)
    draw_weight(weight, 0.0, 0.02)
    assert (weight.is_meta, weight.shape, weight.dtype) == (True, (4, 3), torch.float32)
    assert torch.equal(torch.get_rng_state(), state)
