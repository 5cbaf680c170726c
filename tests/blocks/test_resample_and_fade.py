"""Changes of size and the blend; exactness is compared to the bit."""

import numpy as np
import pytest
import torch

from progcycle.blocks import (
    downsample2x,
    fade_in,
    full_precision,
    in_full_precision,
    mean_preserving_upsample2x,
    smooth_upsample2x,
    upsample2x,
)


def test_upsample_repeats_every_pixel() -> None:
    x = torch.randn(2, 3, 3, 5)
    expected = np.repeat(np.repeat(x.numpy(), 2, axis=2), 2, axis=3)
    assert torch.equal(upsample2x(x), torch.from_numpy(expected))


def test_downsample_averages_two_by_two_pixels() -> None:
    x = torch.randn(2, 3, 6, 8)
    a = x.double().numpy()
    expected = (a[:, :, 0::2, 0::2] + a[:, :, 1::2, 0::2] + a[:, :, 0::2, 1::2] + a[:, :, 1::2, 1::2]) / 4
    np.testing.assert_allclose(downsample2x(x).numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_downsample_undoes_upsample_to_the_bit(memory: torch.memory_format) -> None:
    torch.manual_seed(0)
    x = (torch.rand(2, 3, 320, 480) * 2 - 1).contiguous(memory_format=memory)  # many, for every way of rounding
    assert torch.equal(downsample2x(upsample2x(x)), x)


def test_fade_is_exact_at_both_ends_and_linear_between() -> None:
    torch.manual_seed(0)
    old, new = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    assert torch.equal(fade_in(old, new, 0.0), old)
    assert torch.equal(fade_in(old, new, 1.0), new)
    for alpha in (0.25, 0.5, 0.9):
        expected = (1 - alpha) * old.double() + alpha * new.double()
        torch.testing.assert_close(fade_in(old, new, alpha).double(), expected, rtol=1e-5, atol=1e-6)


def test_fade_weighs_the_new_layers_by_alpha() -> None:
    assert fade_in(torch.tensor(0.0), torch.tensor(1.0), 0.75).item() == 0.75


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_fade_of_half_precision_is_float32(dtype: torch.dtype) -> None:
    old, new = torch.zeros(1, dtype=dtype), torch.ones(1, dtype=dtype)
    faded = fade_in(old, new, 0.1)
    assert faded.dtype == torch.float32
    assert faded.item() == pytest.approx(0.1, abs=1e-7)  # bfloat16 would give 0.10009765625


def test_full_precision_raises_halves_and_keeps_doubles() -> None:
    kinds = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    assert [full_precision(torch.ones(1, dtype=kind)).dtype for kind in kinds] == [
        torch.float32,
        torch.float32,
        torch.float32,
        torch.float64,
    ]


def test_in_full_precision_switches_autocast_off() -> None:
    layer = torch.nn.Linear(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(torch.ones(1, 2)).dtype == torch.bfloat16
        assert in_full_precision(layer, torch.ones(1, 2, dtype=torch.bfloat16)).dtype == torch.float32


def test_smooth_enlargement_is_linear_between_the_middles_of_pixels() -> None:
    x = torch.tensor([[0.0, 4.0], [8.0, 12.0]])[None, None]
    row = [0.0, 1.0, 3.0, 4.0]
    expected = torch.tensor([[value + 2 * below for value in row] for below in row])
    assert torch.equal(smooth_upsample2x(x)[0, 0], expected)


def test_mean_preserving_enlargement_keeps_means_and_is_bilinear_otherwise() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    enlarged = mean_preserving_upsample2x(x)
    torch.testing.assert_close(downsample2x(enlarged), x, rtol=0, atol=1e-14)
    assert (downsample2x(smooth_upsample2x(x)) - x).abs().mean() > 0.1
    within = enlarged - upsample2x(x)  # what differs in a block: of bilinear interpolation, without its mean
    smooth = smooth_upsample2x(x)
    torch.testing.assert_close(within, smooth - upsample2x(downsample2x(smooth)), rtol=0, atol=1e-14)
    ramp = torch.arange(8.0, dtype=torch.float64).expand(1, 1, 8, 8)  # bilinear keeps the means of a slope
    inside = slice(2, -2)
    torch.testing.assert_close(mean_preserving_upsample2x(ramp)[..., inside], smooth_upsample2x(ramp)[..., inside])
