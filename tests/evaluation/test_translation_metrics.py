"""Figures of translators that are known by construction."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from progcycle.evaluation import translation_metrics
from progcycle.evaluation.round_trip import NOISE, RoundTrip, translate_round_trip
from progcycle.evaluation.translation_metrics import (
    QUICK,
    DirectionTestSet,
    RealFeatures,
    faults,
    measure_translation,
    real_features,
)
from progcycle.metrics import (
    Features,
    edge_scores,
    feature_distance,
    fill_deviation,
    frechet_distance,
    kernel_distance,
    luma_chroma_scores,
    paired_scores,
    palette,
    palette_distances,
    two_sample_test,
)

Translate = Callable[[Tensor, str], Tensor]


class Corners(nn.Module):
    """Nine numbers of a picture."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.mean(dim=(2, 3)), x[:, :, 0, 0], x[:, :, -1, -1]], dim=1)


CORNERS = Features("corners", Corners(), 9)
WITH_SWD = (*QUICK, "swd")


def pictures(count: int, seed: int, channels: int = 3, side: int = 16) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, channels, 4, 4, generator=rng) * 1.4 - 0.7
    return nn.functional.interpolate(coarse, (side, side), mode="bilinear")


def identity(x: Tensor, direction: str) -> Tensor:
    return x


def affine(x: Tensor, direction: str) -> Tensor:
    """B is A with half the contrast, a little brighter."""
    return 0.5 * x + 0.1 if direction == "ab" else (x - 0.1) * 2


def negative(x: Tensor, direction: str) -> Tensor:
    return -x


def steganographer(x: Tensor, direction: str) -> Tensor:
    """Always paints the same grey, with the source in differences far below a grey level."""
    return 0.3 + 1e-4 * x if direction == "ab" else ((x - 0.3) * 1e4).clamp(-1, 1)


A = pictures(12, 0)
B = affine(A, "ab")[torch.randperm(12, generator=torch.Generator().manual_seed(1))]
PAIRS = [(i, int((B - affine(A[i : i + 1], "ab")).abs().sum(dim=(1, 2, 3)).argmin())) for i in range(12)]


def test_doing_nothing_is_a_copy() -> None:
    found = measure_translation(identity, A, B, PAIRS, CORNERS)
    for direction in ("ab", "ba"):
        assert found[f"copy/{direction}"] == pytest.approx(1)
        assert found[f"inversion/{direction}"] == pytest.approx(-1)
        assert found[f"source_l1/{direction}"] == 0
        assert found[f"source_feature/{direction}"] == pytest.approx(0, abs=1e-12)
        assert found[f"cycle/{direction}{direction[0]}"] == 0
        assert found[f"hidden/{direction}{direction[0]}"] == pytest.approx(1)
    assert found["cycle_noisy/aba"] == pytest.approx(NOISE * (2 / np.pi) ** 0.5, rel=0.05)
    assert found["cycle_rounded/aba"] == pytest.approx(1 / 127.5 / 4, rel=0.1)
    expected = paired_scores(A, B[[j for _, j in PAIRS]]).means()
    assert {name: found[f"{name}/ab"] for name in expected} == pytest.approx(expected)
    assert found["kid/ab"] == pytest.approx(kernel_distance(CORNERS(A), CORNERS(B)))
    true = CORNERS(B)[[j for _, j in PAIRS]]
    assert found["feature/ab"] == pytest.approx(float(feature_distance(CORNERS(A), true).mean()))
    assert not faults(found)


def test_the_truth_is_the_truth() -> None:
    found = measure_translation(affine, A, B, PAIRS, CORNERS)
    for direction in ("ab", "ba"):
        assert found[f"l1/{direction}"] == pytest.approx(0, abs=1e-6)
        assert found[f"psnr/{direction}"] == pytest.approx(100, abs=10)
        assert found[f"ssim/{direction}"] == pytest.approx(1, abs=1e-3)
        assert found[f"copy/{direction}"] == pytest.approx(0, abs=1e-5)
        assert found[f"feature/{direction}"] == pytest.approx(0, abs=1e-6)
    assert not faults(found)


def test_negatives_raise_an_alarm_unless_they_are_true() -> None:
    found = measure_translation(negative, A, B, PAIRS, None)
    assert [found["inversion/ab"], found["inversion/ba"]] == pytest.approx([1, 1])
    assert set(faults(found)) == {"inversion/ab", "inversion/ba"}
    assert "opposites" in faults(found)["inversion/ab"]
    assert set(faults(measure_translation(negative, A, B, None, None))) == {"inversion/ab", "inversion/ba"}
    turned = measure_translation(negative, A, -A, [(i, i) for i in range(12)], None)
    assert turned["truth_inversion/ab"] == pytest.approx(1)
    assert not faults(turned)


def test_a_hidden_signal_is_found() -> None:
    found = measure_translation(steganographer, A, B, None, None)
    assert found["cycle/aba"] < 0.01
    assert found["cycle_rounded/aba"] > 0.3
    assert found["cycle_noisy/aba"] > 0.3
    assert found["hidden/aba"] > 20
    assert "hidden/aba" in faults(found)
    honest = measure_translation(lambda x, _: torch.zeros_like(x), A, B, None, None)
    assert honest["hidden/aba"] <= 1


def test_without_pairs_and_features_their_figures_are_left_out() -> None:
    found = measure_translation(affine, A, B[:7], None, None)
    names = {name.partition("/")[0] for name in found}
    assert not names & {"l1", "psnr", "ssim", "feature", "kid", "fd", "source_feature", "truth_inversion", "swd"}
    expected = paired_scores(affine(A, "ab"), A).means()["ssim"]
    assert found["copy/ab"] == found["source_ssim/ab"] == pytest.approx(expected)
    assert measure_translation(affine, A, B[:7], [], None) == found


def test_domains_of_different_channels() -> None:
    grey = A.mean(dim=1, keepdim=True)

    def translate(x: Tensor, direction: str) -> Tensor:
        return x.expand(-1, 3, -1, -1) if direction == "ab" else x.mean(dim=1, keepdim=True)

    found = measure_translation(translate, grey, A, [(i, i) for i in range(12)], CORNERS, metrics=WITH_SWD)
    assert not any(name.startswith("source_") for name in found)
    assert found["copy/ab"] == pytest.approx(1, abs=1e-6)
    assert found["cycle/aba"] == pytest.approx(0, abs=1e-6)
    assert found["inversion/ba"] < -0.8
    assert {"swd/ab", "swd/ba", "kid/ab", "kid/ba", "feature/ab"} <= set(found)


def test_real_features_are_computed_once_where_given() -> None:
    reals = real_features(CORNERS, A, B)
    whole = measure_translation(affine, A, B, PAIRS, CORNERS)
    assert measure_translation(affine, A, B, PAIRS, CORNERS, reals=reals) == whole
    other = measure_translation(affine, A, B, PAIRS, CORNERS, reals={"a": reals["a"], "b": reals["b"] + 1})
    assert other["kid/ab"] > whole["kid/ab"] + 0.1


def test_batches_change_nothing_and_the_seed_only_what_is_random() -> None:
    whole = measure_translation(affine, A, B, PAIRS, CORNERS, metrics=WITH_SWD)
    assert measure_translation(affine, A, B, PAIRS, CORNERS, metrics=WITH_SWD, batch_size=5) == pytest.approx(
        whole, rel=1e-5
    )
    other = measure_translation(affine, A, B, PAIRS, CORNERS, metrics=WITH_SWD, seed=1)
    changed = {name.partition("/")[0] for name in whole if other[name] != pytest.approx(whole[name], rel=1e-6)}
    halves = {"swd", "swd_floor", "hue_distance_floor", "chroma_distance_floor"}
    assert changed - {"hidden"} == halves | {"cycle_noisy"}


def test_a_round_trip_by_hand() -> None:
    calls: list[str] = []

    def translate(x: Tensor, direction: str) -> Tensor:
        calls.append(direction)
        return 3 * x if direction == "ab" else x / 3  # beyond white is cut off before it goes back

    round_trip = translate_round_trip(translate, A, "ab", batch_size=100)
    assert calls == ["ab", "ba", "ba", "ba"]
    middle = (3 * A).clamp(-1, 1)
    torch.testing.assert_close(round_trip.output, middle)
    torch.testing.assert_close(round_trip.cycle, (middle / 3 - A).abs().mean(dim=(1, 2, 3)))
    rounded = ((middle * 127.5 + 127.5).round() / 127.5 - 1) / 3
    torch.testing.assert_close(round_trip.rounded, (rounded - A).abs().mean(dim=(1, 2, 3)))
    assert round_trip.reconstruction.dtype == torch.uint8
    assert (round_trip.reconstruction.float() - (middle / 3 * 127.5 + 127.5)).abs().max() <= 0.51


@pytest.mark.parametrize(("rounded", "noisy", "hidden"), [(0.4, 0.1, 2.0), (0.1, 0.9, 3.0)])
def test_the_worse_of_two_disturbances_counts(rounded: float, noisy: float, hidden: float) -> None:
    errors = [torch.full((4,), value) for value in (0.15, rounded, noisy, 0.05, 0.15)]
    found = RoundTrip(torch.zeros(4, 1, 2, 2), torch.zeros(4, 1, 2, 2), *errors).figures("ba")
    expected = {"cycle/bab": 0.15, "cycle_rounded/bab": rounded, "cycle_noisy/bab": noisy, "hidden/bab": hidden}
    assert found == pytest.approx(expected)


def test_distances_are_taken_between_halves_of_equal_size() -> None:
    """The true pairs of the real half are not among the pictures that are compared with it."""
    for count, more in ((40, 40), (40, 90), (90, 40)):
        a, b = torch.zeros(count, 1, 4, 4), torch.zeros(more, 1, 4, 4)
        pairs = [(i, i) for i in range(min(count, more))]
        chosen, reference, others = DirectionTestSet("ab", a, b, pairs).halves(0)
        assert len(chosen) == len(reference) == len(others) == min(count, more // 2)
        assert not set(reference.tolist()) & set(others.tolist())
        assert len(set(chosen.tolist())) == len(chosen)
        if more <= count:
            assert not set(chosen.tolist()) & set(reference.tolist())


def test_frechet_distance_only_where_pictures_outnumber_dimensions() -> None:
    a, b = pictures(20, 2), pictures(20, 3)
    found = measure_translation(identity, a, b, None, CORNERS)
    chosen, reference, others = DirectionTestSet("ab", a, b).halves(0)
    fa, fb = CORNERS(a), CORNERS(b)
    assert found["fd/ab"] == pytest.approx(frechet_distance(fa[chosen], fb[reference]))
    assert found["fd_floor/ab"] == pytest.approx(frechet_distance(fb[others], fb[reference]))
    assert "fd/ab" not in measure_translation(identity, a, b[:19], None, CORNERS)


def test_one_picture_of_each_domain() -> None:
    found = measure_translation(affine, A[:1], B[:1], [(0, 0)], CORNERS, metrics=WITH_SWD)
    assert {"l1/ab", "feature/ab", "copy/ba", "cycle/bab"} <= set(found)
    assert not {"kid/ab", "swd/ab", "fd/ab"} & set(found)


def test_palettes_and_lines_are_those_of_their_sets() -> None:
    found = measure_translation(affine, A, B, PAIRS, None)
    output, truth = affine(A, "ab"), B[[j for _, j in PAIRS]]
    mine, real = palette(output), palette(B)
    expected = mine.figures() | palette_distances(mine, real) | luma_chroma_scores(output, truth)
    edges = edge_scores(output, A)
    expected |= {"edge_recall": edges.recall, "edge_precision": edges.precision, "fill": fill_deviation(output, A)}
    expected |= {f"{name}_floor": value for name, value in real.figures().items()}
    present = {f"{name}/ab": value for name, value in expected.items() if value is not None}
    assert {name: found[name] for name in present} == pytest.approx(present, abs=1e-6)
    assert found["hue_distance/ab"] == pytest.approx(0, abs=0.5)
    assert found["hue_distance_floor/ab"] > 1  # halves of twelve pictures
    assert found["edge_recall_floor/ab"] == pytest.approx(found["edge_recall/ab"])  # the translation is the truth
    bare = measure_translation(affine, A, B, None, None, metrics=())
    kinds = {name.partition("/")[0] for name in bare}
    always = {"inversion", "copy", "source_l1", "source_psnr", "source_ssim"}
    assert kinds == always | {"cycle", "cycle_rounded", "cycle_noisy", "hidden"}


def test_grey_pictures_have_lines_and_no_palette() -> None:
    grey = A.mean(dim=1, keepdim=True)
    found = measure_translation(identity, grey, grey, [(i, i) for i in range(12)], None)
    assert found["edge_recall/ab"] == found["edge_precision/ab"] == 1
    assert not any(name.startswith(("hue", "chroma", "luma", "colour")) for name in found)


def test_a_second_kernel_distance_and_the_two_sample_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translation_metrics, "two_sample_test", partial(two_sample_test, steps=3))
    more = RealFeatures(CORNERS, real_features(CORNERS, A, B))
    found = measure_translation(affine, A, B, PAIRS, None, more=more, metrics=("two-sample",))
    assert found["kid_resnet/ab"] == pytest.approx(kernel_distance(CORNERS(affine(A, "ab")), CORNERS(B)))
    assert found["kid_resnet_error/ab"] > 0
    assert "kid/ab" not in found
    expected = two_sample_test(affine(A, "ab").clamp(-1, 1), B, PAIRS, steps=3).figures()
    assert {f"{name}/ab": value for name, value in expected.items()}.items() <= found.items()
    few = measure_translation(affine, A[:2], B[:2], None, None, metrics=("two-sample",))
    assert not any(name.startswith("two_sample") for name in few)
