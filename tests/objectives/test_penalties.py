"""Gradient penalties against critics whose gradient is known, and against finite differences."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from progcycle.objectives import drift, gradient_penalty, per_picture, zero_centred

N, SHAPE = 3, (2, 4, 5)


def linear_critic(weight: Tensor) -> "nn.Module":
    """D(x) = <w, x>, whose gradient is w everywhere."""
    critic = nn.Linear(weight.numel(), 1, bias=False)
    critic.weight.data = weight.reshape(1, -1)
    return nn.Sequential(nn.Flatten(), critic, nn.Flatten(0))


def pictures(seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(N, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 2 - 1


@pytest.mark.parametrize("target", [1.0, 2.5, 750.0])
def test_gradient_penalty_of_a_linear_critic(target: float) -> None:
    weight = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    penalty = gradient_penalty(linear_critic(weight), pictures(1), pictures(2), torch.rand(N), target)
    assert penalty.item() == pytest.approx((weight.norm().item() - target) ** 2 / target**2, rel=1e-5)


@pytest.mark.parametrize("target", [1.0, 750.0])
def test_gradient_penalty_against_the_formula_in_float64(target: float) -> None:
    """E (|grad D| - target)^2 / target^2 for D = <w, x> and for D = <x, A x> / 2, whose gradients are w and A x."""
    rng = np.random.default_rng(0)
    size = int(np.prod(SHAPE))
    real, fake = (rng.uniform(-1, 1, (N, size)) for _ in range(2))
    mix, w = rng.uniform(0, 1, N), rng.standard_normal(size)
    a = rng.standard_normal((size, size))
    a = (a + a.T) / 2
    point = real + mix[:, None] * (fake - real)

    def penalty(critic: Callable[[Tensor], Tensor]) -> float:
        x, y = (torch.from_numpy(each).reshape(N, *SHAPE) for each in (real, fake))
        return gradient_penalty(critic, x, y, torch.from_numpy(mix), target).item()

    linear = penalty(lambda x: x.flatten(1) @ torch.from_numpy(w))
    assert linear == pytest.approx((np.linalg.norm(w) - target) ** 2 / target**2, rel=1e-9)
    quadratic = penalty(lambda x: (x.flatten(1) @ torch.from_numpy(a) * x.flatten(1)).sum(1) / 2)
    norms = np.linalg.norm(point @ a, axis=1)
    assert quadratic == pytest.approx(np.mean((norms - target) ** 2) / target**2, rel=1e-9)


def test_slope_of_the_gradient_penalty_against_the_formula_in_float64() -> None:
    """For D(x) = s |x|^2 / 2, whose gradient is s x: d/ds (s |x| - target)^2 / target^2."""
    x = pictures(1, torch.float64)
    norms = x.flatten(1).norm(dim=1)
    for target in (1.0, 750.0):
        s = torch.tensor(1.7, dtype=torch.float64, requires_grad=True)
        gradient_penalty(lambda y, s=s: s * y.square().sum((1, 2, 3)) / 2, x, x, torch.zeros(N), target).backward()
        expected = (2 * (1.7 * norms - target) * norms).mean() / target**2
        assert s.grad is not None
        assert s.grad.item() == pytest.approx(expected.item(), rel=1e-9)


@pytest.mark.parametrize("gamma", [1.0, 10.0])
def test_zero_centred_penalty_is_half_gamma_times_the_squared_gradient(gamma: float) -> None:
    # D(x) = |x|^2 / 2 has the gradient x.
    x = pictures(1)
    penalty = zero_centred(lambda y: y.square().sum((1, 2, 3)) / 2, x, gamma)
    expected = gamma / 2 * x.double().square().sum((1, 2, 3)).mean()
    assert penalty.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("mix", [0.0, 0.25, 1.0])
def test_gradient_is_taken_between_real_and_fake(mix: float) -> None:
    real, fake = pictures(1), pictures(2)
    point = real + mix * (fake - real)
    penalty = gradient_penalty(lambda y: y.square().sum((1, 2, 3)) / 2, real, fake, torch.full((N,), mix))
    norms = point.double().square().sum((1, 2, 3)).sqrt()
    assert penalty.item() == pytest.approx((norms - 1).square().mean().item(), rel=1e-5)


def test_every_picture_has_a_mix_of_its_own() -> None:
    real, fake, mix = pictures(1), pictures(2), torch.tensor([0.0, 0.3, 1.0])
    together = gradient_penalty(lambda y: y.square().sum((1, 2, 3)), real, fake, mix)
    alone = [
        gradient_penalty(lambda y: y.square().sum((1, 2, 3)), real[i : i + 1], fake[i : i + 1], mix[i : i + 1])
        for i in range(N)
    ]
    torch.testing.assert_close(together, torch.stack(alone).mean())


def small_critic() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Softplus(), nn.Conv2d(4, 1, 3, padding=1))
    return layers.double()


def finite_difference_gradient(critic: nn.Module, x: Tensor) -> np.ndarray:
    """Central differences of each picture's mean logit."""
    step, rows = 1e-5, []
    with torch.no_grad():
        for picture in x:
            slopes = []
            for k in range(picture.numel()):
                shift = torch.zeros(picture.numel(), dtype=x.dtype)
                shift[k] = step
                up, down = (critic((picture + s * shift.reshape(SHAPE))[None]).mean().item() for s in (1, -1))
                slopes.append((up - down) / (2 * step))
            rows.append(slopes)
    return np.array(rows)


def test_penalties_agree_with_finite_differences_on_patch_logits() -> None:
    critic, real, fake = small_critic(), pictures(1, torch.float64), pictures(2, torch.float64)
    mix = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    between = real + mix.reshape(-1, 1, 1, 1) * (fake - real)
    norms = np.linalg.norm(finite_difference_gradient(critic, between), axis=1)
    expected = np.mean((norms - 0.5) ** 2) / 0.25
    assert gradient_penalty(critic, real, fake, mix, target=0.5).item() == pytest.approx(expected, rel=1e-6)
    squares = (finite_difference_gradient(critic, real) ** 2).sum(1)
    assert zero_centred(critic, real, 3.0).item() == pytest.approx(1.5 * squares.mean(), rel=1e-6)


def test_a_picture_counts_once_whatever_the_number_of_its_patches() -> None:
    def few(x: Tensor) -> Tensor:
        return x.square().sum((1, 2, 3))

    def many(x: Tensor) -> Tensor:
        return few(x).reshape(-1, 1, 1, 1).expand(-1, 1, 4, 4)

    x = pictures(1)
    torch.testing.assert_close(zero_centred(many, x, 1.0), zero_centred(few, x, 1.0))
    torch.testing.assert_close(
        gradient_penalty(many, x, -x, torch.rand(N) * 0), gradient_penalty(few, x, -x, torch.rand(N) * 0)
    )


def test_per_picture_averages_patches() -> None:
    logits = torch.arange(12.0).reshape(2, 1, 2, 3)
    assert torch.equal(per_picture(logits), torch.tensor([2.5, 8.5]))
    assert torch.equal(per_picture(torch.tensor([1.0, 2.0])), torch.tensor([1.0, 2.0]))


def test_gradient_penalty_is_finite_where_the_gradient_is_zero() -> None:
    weight = torch.zeros(SHAPE)
    critic = linear_critic(weight)
    penalty = gradient_penalty(critic, pictures(1), pictures(2), torch.rand(N))
    penalty.backward()
    assert penalty.item() == pytest.approx(1, abs=1e-5)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in critic.parameters())


def test_second_derivative_reaches_the_critics_weights() -> None:
    weight = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    critic = linear_critic(weight)
    (parameter,) = critic.parameters()
    zero_centred(critic, pictures(1), 2.0).backward()  # |w|^2, whose slope is 2 w
    torch.testing.assert_close(parameter.grad, 2 * weight.reshape(1, -1))
    parameter.grad = None
    gradient_penalty(critic, pictures(1), pictures(2), torch.rand(N)).backward()  # (|w| - 1)^2
    torch.testing.assert_close(parameter.grad, 2 * (weight.norm() - 1) / weight.norm() * weight.reshape(1, -1))


def test_drift_is_the_mean_square_of_all_logits() -> None:
    assert drift(torch.tensor([1.0, -2.0, 3.0])).item() == pytest.approx(14 / 3)
    assert drift(torch.tensor([[[[1.0, 3.0]]], [[[0.0, 0.0]]]])).item() == pytest.approx(10 / 4)


def test_pictures_get_no_gradient() -> None:
    real, fake = pictures(1).requires_grad_(), pictures(2).requires_grad_()
    gradient_penalty(small_critic().float(), real, fake, torch.rand(N)).backward()
    zero_centred(small_critic().float(), real, 1.0).backward()
    assert real.grad is None
    assert fake.grad is None


def test_penalties_run_in_float32_under_autocast() -> None:
    critic, real, fake, mix = small_critic().float(), pictures(1), pictures(2), torch.rand(N)
    seen = []
    critic[0].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    plain = gradient_penalty(critic, real, fake, mix), zero_centred(critic, real, 1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        critic(real)
        mixed = gradient_penalty(critic, real, fake, mix), zero_centred(critic, real, 1.0)
    assert seen == [torch.float32, torch.float32, torch.bfloat16, torch.float32, torch.float32]
    assert torch.equal(plain[0], mixed[0])
    assert torch.equal(plain[1], mixed[1])
