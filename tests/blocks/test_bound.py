"""Cut off at black and white, with a gradient that leads back."""

import pytest
import torch
from torch import Tensor

from progcycle.blocks import clamp_inward
from progcycle.networks import ProgressiveTranslator

# Value, gradient that comes in, gradient that is handed on; a descent step subtracts it.
CASES = [
    (1.2, 1.0, 1.0),  # leads down, back into the range
    (1.2, -1.0, 0.0),  # leads further out
    (-1.2, -1.0, -1.0),
    (-1.2, 1.0, 0.0),
    (0.3, 1.0, 1.0),
    (0.3, -1.0, -1.0),
    (1.0, -1.0, -1.0),  # a plain clamp hands it on too
    (-1.0, 1.0, 1.0),
    (1.2, 0.0, 0.0),
]


@pytest.mark.parametrize(("value", "incoming", "handed_on"), CASES)
def test_gradient_passes_inside_and_where_it_leads_back(value: float, incoming: float, handed_on: float) -> None:
    x = torch.tensor([value], requires_grad=True)
    y = clamp_inward(x)
    y.backward(torch.tensor([incoming]))
    assert y.item() == pytest.approx(max(-1.0, min(1.0, value)))
    assert x.grad is not None
    assert x.grad.item() == handed_on


def test_plain_clamp_hands_nothing_back_from_outside() -> None:
    """What the other one is there for."""
    x = torch.tensor([1.2, -1.2], requires_grad=True)
    x.clamp(-1, 1).backward(torch.tensor([1.0, -1.0]))
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 0.0]


def test_descent_brings_a_value_back_to_its_target() -> None:
    def descend(bound: object) -> float:
        x = torch.tensor([3.0], requires_grad=True)
        for _ in range(100):
            loss = (bound(x) - 0.25).square().sum()  # type: ignore[operator]
            (grad,) = torch.autograd.grad(loss, x)
            x = (x - 0.1 * grad).detach().requires_grad_()
        return x.item()

    assert descend(clamp_inward) == pytest.approx(0.25, abs=1e-6)
    assert descend(lambda x: x.clamp(-1, 1)) == 3.0


@torch.no_grad()
def test_without_gradients_it_is_a_clamp() -> None:
    x = torch.linspace(-3, 3, 25, dtype=torch.float64)
    assert torch.equal(clamp_inward(x), x.clamp(-1, 1))


def test_translator_paints_the_same_and_learns_back() -> None:
    torch.manual_seed(0)
    plain = ProgressiveTranslator([8, 6], bounded=True)
    inward = ProgressiveTranslator([8, 6], bounded="inward")
    for parameter in plain.parameters():
        torch.nn.init.normal_(parameter, std=3.0)
    inward.load_state_dict(plain.state_dict())
    x = torch.rand(1, 3, 8, 8) * 2 - 1
    pictures = [network(x, 1, 1.0) for network in (plain, inward)]
    assert torch.equal(*pictures)
    assert (pictures[0].abs() == 1).any(), "otherwise nothing is tested"

    def norm(picture: Tensor, network: torch.nn.Module) -> float:
        grads = torch.autograd.grad(picture.abs().sum(), list(network.parameters()), allow_unused=True)
        return sum(float(g.abs().sum()) for g in grads if g is not None)

    # |picture| falls where values come back: pixels that are cut off take part only with the gradient inward.
    assert norm(pictures[1], inward) > norm(pictures[0], plain)
