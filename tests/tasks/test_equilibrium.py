"""k and M by hand, from losses that are given; halving of rates where M stalls."""

from math import nan
from typing import Any

import pytest
import torch
from torch import Tensor

from progcycle.recipe import BeganObjective, Halving
from progcycle.schedule import Growth
from progcycle.tasks.equilibrium import Equilibrium, StalledRates, convergence


def t(value: float) -> Tensor:
    return torch.tensor(value)


def growth(nimg: int, fading: bool = False) -> Growth:
    return Growth(0, 8, 1.0, batch_size=10, nimg=nimg, fading=fading)


def course(balance: Equilibrium, losses: list[tuple[float, float]], start: int = 0) -> list[float]:
    """k in each of some steps, and in the one after them."""
    found = []
    for step, (real, fake) in enumerate(losses, start):
        found.append(balance.at(step).item())
        balance.observe(t(real), t(fake), step, growth(10 * step))
    return [*found, balance.at(start + len(losses)).item()]


def test_k_follows_the_published_formula_and_stays_in_its_bounds() -> None:
    balance = Equilibrium(BeganObjective(gamma=0.5, lambda_k=0.1))
    # 0 + .1 (.5 * .8 - .1) = .03; + .1 (.5 * .6 - .4) = .02; + .1 (.5 - 2) < 0; + .1 (.5 * 40 - 1) > 1
    found = course(balance, [(0.8, 0.1), (0.6, 0.4), (1.0, 2.0), (40.0, 1.0)])
    assert found == pytest.approx([0, 0.03, 0.02, 0, 1])


@pytest.mark.parametrize("gamma", [0.3, 0.75, 1.0])
def test_by_the_formula_of_the_article_k_never_leaves_0(gamma: float) -> None:
    balance = Equilibrium(BeganObjective(gamma=gamma, lambda_k=0.5, k_rule="article"))
    assert course(balance, [(0.8, 0.1), (9.0, 0.0), (0.6, 0.4), (5.0, 3.0)]) == [0] * 5
    published = Equilibrium(BeganObjective(gamma=gamma, lambda_k=0.5))
    assert course(published, [(0.8, 0.1)])[-1] > 0


def test_parts_of_a_step_count_alike_and_k_waits_for_the_step_to_end() -> None:
    balance = Equilibrium(BeganObjective(gamma=0.5, lambda_k=0.1))
    for part in (0.2, 0.6):
        assert balance.at(0) == 0
        balance.observe(t(2 * part), t(part / 2), 0, growth(0))
    # means .8 and .2
    assert balance.at(1).item() == pytest.approx(0.1 * (0.5 * 0.8 - 0.2))


def test_a_step_that_is_no_number_moves_nothing() -> None:
    balance = Equilibrium(BeganObjective(gamma=0.5, lambda_k=0.1), window_kimg=1)
    assert course(balance, [(0.8, 0.1), (nan, 0.1)]) == pytest.approx([0, 0.03, 0.03])
    assert balance.mean_convergence == pytest.approx(0.8 + 0.3)


def test_m_by_hand() -> None:
    assert convergence(t(0.8), t(0.1), 0.5).item() == pytest.approx(0.8 + 0.3)
    assert convergence(t(0.8), t(0.7), 0.5).item() == pytest.approx(0.8 + 0.3)
    assert convergence(t(0.8), t(0.4), 0.5).item() == pytest.approx(0.8)


def test_the_mean_of_m_is_that_of_the_steps_since_the_last_multiple() -> None:
    balance = Equilibrium(BeganObjective(gamma=0.5), window_kimg=0.03)  # 3 steps of 10 pictures
    means = []
    for step, real in enumerate((0.8, 0.6, 0.4, 0.2, 0.6, 1.0, 0.5)):
        balance.at(step)
        balance.observe(t(real), t(real / 2), step, growth(10 * step))  # M = L(x)
        means.append(balance.mean_convergence)
    assert means == pytest.approx([0.8, 0.7, 0.6, 0.2, 0.4, 0.6, 0.5])


@pytest.mark.parametrize("rule", ["keep", "reset"])
def test_k_when_a_stage_opens(rule: Any) -> None:
    balance = Equilibrium(BeganObjective(gamma=0.5, lambda_k=0.1, k_on_new_stage=rule))
    balance.at(0)
    balance.observe(t(0.8), t(0.1), 0, growth(0))
    balance.on_new_stage()
    assert balance.at(1).item() == pytest.approx(0.03 if rule == "keep" else 0)


def stalled(ms: list[float], **changes: Any) -> list[int]:
    """How often the rates have been halved after each step of 10 pictures, with windows of 20."""
    rates = StalledRates(Halving(stall_kimg=0.02, **changes))
    found = []
    for m in ms:
        rates.take(torch.tensor([m, 1.0]), 10)
        found.append(rates.halvings)
    return found


def test_rates_are_halved_where_the_mean_of_a_window_is_not_below_all_before() -> None:
    # windows: 9, 5, 6 (stalled), 5 (stalled), 4, 4 (stalled)
    assert stalled([10, 8, 5, 5, 6, 6, 4, 6, 4, 4, 3, 5]) == [0, 0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 3]


def test_a_fade_is_left_out_and_a_stage_begins_anew() -> None:
    rates = StalledRates(Halving(stall_kimg=0.02))
    for m, pictures in ((5.0, 10), (5.0, 10), (90.0, 0), (90.0, 0), (90.0, 0)):
        rates.take(torch.tensor([m, 1.0]), pictures)
    assert rates.halvings == 0
    rates.begin()
    for m in (8.0, 8.0, 9.0, 9.0):
        rates.take(torch.tensor([m, 1.0]), 10)
    assert rates.halvings == 1, "8 is the first of its stage, 9 is no less"
    fading = Equilibrium(BeganObjective(), rates=(own := StalledRates(Halving(stall_kimg=0.02))))
    for step in range(9):
        fading.at(step)
        fading.observe(t(step), t(step), step, growth(10 * step, fading=True))
    assert (own.pictures, own.halvings) == (0, 0)


def test_its_state_is_all_of_it() -> None:
    def make() -> Equilibrium:
        options = BeganObjective(gamma=0.5, lambda_k=0.1)
        return Equilibrium(options, 0.03, StalledRates(Halving(stall_kimg=0.02)))

    losses = [(0.8, 0.1), (0.6, 0.4), (0.9, 0.2), (0.7, 0.3), (0.8, 0.3), (0.9, 0.1), (0.8, 0.2)]
    whole, first, second = make(), make(), make()
    expected = course(whole, losses)
    for step, (real, fake) in enumerate(losses[:4]):
        first.at(step)
        first.observe(t(real), t(fake), step, growth(10 * step))
    second.load_state_dict({key: value.clone() for key, value in first.state_dict().items()})
    assert course(second, losses[4:], start=4) == expected[4:]
    assert second.mean_convergence == whole.mean_convergence
    assert second.rates is not None
    assert whole.rates is not None
    assert second.rates.halvings == whole.rates.halvings > 0
    assert second.state_dict().keys() == whole.state_dict().keys()
    assert all(torch.equal(value, second.state_dict()[key]) for key, value in whole.state_dict().items())
