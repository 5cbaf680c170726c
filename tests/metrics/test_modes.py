"""Mode coverage against values worked out by hand."""

import math

import pytest
import torch

from progcycle.metrics import mode_coverage


def test_two_modes_in_unequal_shares() -> None:
    found = mode_coverage(torch.tensor([[1, 2, 3]] * 3 + [[3, 2, 1]]))
    assert (found.pictures, found.modes) == (4, 2)
    assert found.kl == pytest.approx(0.75 * math.log(750) + 0.25 * math.log(250))
    assert found.kl_found == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))


def test_every_mode_once_is_uniform() -> None:
    digits = torch.cartesian_prod(*[torch.arange(10)] * 3)
    found = mode_coverage(digits)
    assert found.modes == 1000
    assert found.kl == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("wrong", [torch.zeros(2, 2, dtype=torch.long), torch.full((1, 3), 10), torch.zeros(1, 3)])
def test_what_is_no_digits_is_refused(wrong: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"digits|whole numbers"):
        mode_coverage(wrong)
