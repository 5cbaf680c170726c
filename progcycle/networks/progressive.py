"""The growing networks of the translation task: encoder, decoder and discriminator grow together."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from progcycle.blocks import (
    EarlierFeatures,
    GroupSize,
    Initialization,
    Noise,
    Norm,
    clamp_inward,
    downsample2x,
    full_precision,
    pixel_norm,
)
from progcycle.networks.base import Network, TaskShape
from progcycle.networks.discriminator import (
    BatchComparison,
    DenseHead,
    GrowingDiscriminator,
    GrowingDiscriminatorOptions,
    PatchHead,
)
from progcycle.networks.latent_encoder import REMEMBERED, Latents, Modulation
from progcycle.networks.layers import PIXEL_NORM, Layer, Style, apply_initialization
from progcycle.networks.trunks import GrowingDecoder, GrowingEncoder, Rgb, Smooth, TrunkOptions
from progcycle.resolution import Sides
from progcycle.section import FlagOrSection, Section, flag_or


class ResidualBlock(nn.Module):
    """x + f(x), f being two 3x3 layers.

    Args:
        channels: C of the input and of the output.
        style: of the layers.
    """

    def __init__(self, channels: int, style: Style = PIXEL_NORM) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(Layer(channels, channels, style=style) for _ in range(2)))

    def forward(
        self, x: Tensor, modulate: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:  # [N, C, H, W] -> [N, C, H, W]
        """Apply the block; ``modulate`` changes what it adds."""
        change = self.layers(x)
        out: Tensor = x + (change if modulate is None else modulate(change))
        return out


Cut = bool | Literal["inward"]


class Bounded(Section):
    """Whether pictures are cut off at black and white, by direction."""

    ab: Annotated[Cut, flag_or("inward")] = Field(False, description="of translations from A to B")
    ba: Annotated[Cut, flag_or("inward")] = Field(False, description="of translations from B to A")


class ProgressiveTranslatorOptions(TrunkOptions):
    """Options of the growing translators."""

    residual_blocks: int = Field(4, ge=0, le=1000, description="of the bottleneck")
    skips: bool = Field(True, description="hand the encoder's features to the decoder at every resolution")
    predict: Literal["picture", "change"] = Field("change", description="paint the picture, or the change to the input")
    smooth: Annotated[Smooth, flag_or("mean_preserving")] = Field(
        False,
        description="enlarge by bilinear interpolation, not by repeating pixels; mean_preserving: so that a new stage "
        "opens as the one before",
    )
    bounded: Annotated[bool | Literal["inward"] | Bounded, FlagOrSection("inward", Bounded)] = Field(
        False,
        description="cut pictures off at black and white, as files do; keeps plain grounds plain. inward: what is cut "
        "off still learns what leads back. {ab: false, ba: true}: only pictures of A",
    )
    latents: Latents | None = Field(
        None, description="random numbers besides the source, so that one picture has many translations"
    )

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.latents is not None and not self.residual_blocks:
            raise ValueError("latents modulate the residual blocks, of which there are none; set residual_blocks: 1")
        if self.rgb == "features" and self.smooth == "mean_preserving":
            raise ValueError(
                "rgb: features enlarges features, not pictures with their means; set smooth: true or false"
            )
        return self

    def arguments(self, shape: TaskShape) -> dict[str, Any]:
        """See :class:`NetworkOptions`; a change is added to the input, which needs equal channels."""
        come, go = shape.channels["in_channels"], shape.channels["out_channels"]
        if self.predict == "change" and come != go:
            raise ValueError(
                f"predict: change adds to the input, which needs domains of equal channels (they have {come} and {go}: "
                "data.a.channels and data.b.channels); use picture"
            )
        size = self._latent_size(shape)
        return {
            **self.trunk(shape),
            "residual_blocks": self.residual_blocks,
            "skips": self.skips,
            "predict": self.predict,
            "smooth": self.smooth,
            "bounded": self._cut(shape.direction),
            **shape.channels,
            **({"latents": size} if size else {}),
        }

    def within_range(self, direction: str = "") -> bool:
        """See :class:`NetworkOptions`."""
        return bool(self._cut(direction))

    def latent_encoder(self, shape: TaskShape) -> tuple[str, dict[str, Any]] | None:
        """See :class:`NetworkOptions`; as wide as the translator at the base resolution."""
        size = self._latent_size(shape)
        if not size:
            return None
        return "latents", {
            "channels": self.channels.by_stage(shape)[0],
            "latents": size,
            "image_channels": shape.channels["out_channels"],
            "equalized": self.equalized,
            "slope": self.slope,
            **self._memory(shape),
        }

    def _memory(self, shape: TaskShape) -> dict[str, int]:
        """What the encoder keeps of real pictures."""
        if self.latents is None or self.latents.drawn != "real":
            return {}
        if self.latents.neighbours is None:
            return {"remembered": REMEMBERED}
        compared = {"neighbours": self.latents.neighbours, "source_channels": shape.channels["in_channels"]}
        return {"remembered": REMEMBERED, **compared}

    def _cut(self, direction: str) -> Cut:
        cut: Cut = getattr(self.bounded, direction) if isinstance(self.bounded, Bounded) else self.bounded
        return cut

    def _latent_size(self, shape: TaskShape) -> int:
        return getattr(self.latents, shape.direction, None) or 0


class ProgressiveTranslator(Network):
    """Encoder trunk, residual bottleneck at the base resolution, decoder trunk.

    The input is expected to be faded already, like everything that the networks see: it is not faded again in here.

    Args:
        channels: features of every stage, base first.
        in_channels: channels of the pictures that come in.
        out_channels: channels of the pictures that go out.
        residual_blocks: blocks of the bottleneck.
        skips: hand the encoder's features to the decoder at every stage but the base.
        predict: ``picture``, or ``change``: the decoder paints what is added to the input, starting from nothing
            (its to_rgb layers begin at zero weights).
        smooth: enlarge by bilinear interpolation, not by repeating pixels, whose blocks show; ``mean_preserving``:
            pictures so that their 2x2 means stay, and a new stage is the one before when it is made small again.
        bounded: cut what goes out off at -1 and 1, so that plain white or black is exact and easily kept: ``inward``
            with a gradient that leads back into the range (:func:`clamp_inward`), True without.
        rgb: how the stages' pictures join, ``replace``, ``sum`` or ``features``.
        normalize: kind of normalisation.
        epsilon: added to the mean square in pixel norm.
        equalized: whether weights are scaled at run time.
        slope: of the leaky ReLU.
        initialization: ``he``, or ``normal`` for N(0, 0.02^2) without equalized.
        latents: numbers of a latent, which modulates what each residual block adds; 0 for none.

    Raises:
        ValueError: ``predict`` is ``change`` and the channels differ, ``normal`` with equalized, or ``rgb`` =
            ``features`` with features that differ in number or a ``smooth`` that is ``mean_preserving``.
    """

    Options = ProgressiveTranslatorOptions

    def __init__(
        self,
        channels: Sequence[int],
        in_channels: int = 3,
        out_channels: int = 3,
        residual_blocks: int = 4,
        skips: bool = True,
        predict: Literal["picture", "change"] = "picture",
        smooth: Smooth = False,
        bounded: bool | Literal["inward"] = False,
        rgb: Rgb = "replace",
        normalize: Norm = "pixel",
        epsilon: float = 1e-8,
        equalized: bool = True,
        slope: float = 0.2,
        initialization: Initialization = "he",
        latents: int = 0,
    ) -> None:
        super().__init__()
        self.predicts_change = predict == "change"
        if self.predicts_change and in_channels != out_channels:
            raise ValueError(f"predict 'change' needs equal channels, got {in_channels} and {out_channels}")
        self.skips, self.bounded = skips, bounded
        style = Style(normalize, epsilon, equalized, slope)
        self.encoder = GrowingEncoder(channels, in_channels, rgb, style)
        self.bottleneck = nn.Sequential(*(ResidualBlock(channels[0], style) for _ in range(residual_blocks)))
        self.decoder = GrowingDecoder(
            channels, out_channels, rgb, skips, zero=self.predicts_change, style=style, smooth=smooth
        )
        self.latent_size, self.epsilon = latents, epsilon
        if latents:
            self.modulations = nn.ModuleList(Modulation(latents, channels[0], equalized) for _ in self.bottleneck)
        apply_initialization(self, initialization, equalized)

    @property
    def any_size(self) -> bool:
        """It is made of convolutions alone."""
        return True

    def newest(self, stage: int) -> dict[str, nn.Module]:
        """Of both trunks."""
        trunks: dict[str, GrowingEncoder | GrowingDecoder] = {"encoder": self.encoder, "decoder": self.decoder}
        return {f"{name}.{key}": m for name, trunk in trunks.items() for key, m in trunk.newest(stage).items()}

    def growing_decoder(self) -> GrowingDecoder:
        """The decoder trunk."""
        return self.decoder

    def forward(self, x: Tensor, stage: int, alpha: float, latents: Tensor | None = None) -> Tensor:
        """Translate pictures.

        Args:
            x: pictures in [-1, 1]; H and W are multiples of 2^stage.  # [N, in_channels, H, W]
            stage: growth step.
            alpha: weight of the newest stage, in [0, 1].
            latents: of a network that has some; normalised here to a mean square of 1.  # [N, latent_size]

        Returns:
            Pictures in about [-1, 1], or in it if bounded, float32 at least.  # [N, out_channels, H, W]

        Raises:
            ValueError: latents are missing, of another shape, or given to a network without.
        """
        given = [x.shape[0], self.latent_size] if self.latent_size else None
        if given != (None if latents is None else list(latents.shape)):
            got = "none" if latents is None else list(latents.shape)
            raise ValueError(f"expected latents of shape {given or 'none'}, got {got}")
        features = self.encoder(x, stage, alpha)
        h = features[0]
        if latents is None:
            h = self.bottleneck(h)
        else:
            z = pixel_norm(latents.to(x.dtype), self.epsilon)
            for block, modulation in zip(self.bottleneck, self.modulations, strict=True):
                h = block(h, partial(modulation, latents=z))
        painted: Tensor = self.decoder(h, stage, alpha, features if self.skips else None)
        picture = full_precision(x) + painted if self.predicts_change else painted
        if not self.bounded:
            return picture
        return clamp_inward(picture) if self.bounded == "inward" else picture.clamp(-1, 1)


class ProgressiveDiscriminatorOptions(GrowingDiscriminatorOptions):
    """Options of the growing discriminators of translators."""

    head: Literal["patch", "dense"] = Field("patch", description="one logit a place, or one a picture as in PG-GAN")
    scales: int = Field(
        1, ge=1, le=16, description="resolutions that a picture is judged at, each half of the one before"
    )

    @model_validator(mode="after")
    def _whole_pictures(self) -> Self:
        if self.minibatch_discrimination is not None and self.head == "patch":
            raise ValueError(
                "minibatch_discrimination judges whole pictures, not the patches of head: patch; use dense, or "
                "minibatch_stddev"
            )
        if self.scales > 1 and self.queue:
            raise ValueError("scales: several do not go with minibatch_stddev.queue; use one of the two")
        return self

    def arguments(self, shape: TaskShape) -> dict[str, Any]:
        """See :class:`NetworkOptions`; every scale needs a resolution that growth reaches."""
        reached = (shape.end_resolution // shape.base_resolution).bit_length()
        if self.scales > max(reached, 1):
            raise ValueError(
                f"scales: from {shape.base_resolution} to {shape.end_resolution} px, where growth ends, there are "
                f"{reached} resolutions to judge at, not {self.scales}; lower it"
            )
        return {**self.discriminator_arguments(shape), "head": self.head, "scales": self.scales}


class ProgressiveDiscriminator(GrowingDiscriminator):
    """Encoder trunk, with a patch head or the dense head of PG-GAN.

    Args:
        channels: features of every stage, base first.
        image_channels: channels of the pictures.
        head: ``patch`` (any picture size) or ``dense`` (the base grid only).
        hidden: features of the dense head's dense layer.
        base_resolution: side of stage 0, or its height and width, for the dense head.
        rgb: how the stages' from_rgb join, ``replace`` or ``sum``.
        stddev_group: group size of the minibatch statistic, 0 for none.
        averaging: what the statistic is averaged over.
        gather: whether the batches of all processes are compared together.
        kernels: kernels of minibatch discrimination, 0 for none; for the dense head.
        dimensions: numbers in which a kernel compares two pictures.
        normalize: kind of normalisation.
        epsilon: added to the mean square in pixel norm.
        equalized: whether weights are scaled at run time.
        slope: of the leaky ReLU.
        initialization: ``he``, or ``normal`` for N(0, 0.02^2) without equalized.
        spectral_norm: whether every layer's weights have a largest singular value of 1.
        scales: resolutions that a picture is judged at, each half of the one before: by the newest stage, and, made
            smaller, by the stages before it, as in their own time.

    Raises:
        ValueError: ``kernels`` with the patch head, an unknown ``averaging``, groups of features that do not divide the
            channels, or ``normal`` with equalized.
    """

    Options = ProgressiveDiscriminatorOptions

    def __init__(
        self,
        channels: Sequence[int],
        image_channels: int = 3,
        head: Literal["patch", "dense"] = "patch",
        hidden: int = 512,
        base_resolution: Sides = 8,
        rgb: Rgb = "replace",
        stddev_group: GroupSize = 4,
        averaging: str = "all",
        gather: bool = False,
        kernels: int = 0,
        dimensions: int = 5,
        normalize: Norm = "none",
        epsilon: float = 1e-8,
        equalized: bool = True,
        slope: float = 0.2,
        initialization: Initialization = "he",
        spectral_norm: bool = False,
        scales: int = 1,
    ) -> None:
        style = Style(normalize, epsilon, equalized, slope)
        variation = BatchComparison(stddev_group, averaging, gather, kernels, dimensions)
        encoder = GrowingEncoder(channels, image_channels, rgb, style)
        ending = (
            PatchHead(channels[0], variation, style)
            if head == "patch"
            else DenseHead(channels[0], hidden, base_resolution, variation, style)
        )
        super().__init__(encoder, ending, style, initialization, spectral_norm)
        self.scales = scales

    def forward(
        self, x: Tensor, stage: int, alpha: float, noise: Noise | None = None, earlier: EarlierFeatures | None = None
    ) -> Tensor:
        """Judge pictures, at one resolution or several.

        Args:
            x: see :meth:`GrowingDiscriminator.forward`.
            stage: growth step.
            alpha: weight of the newest stage, in [0, 1]; the stages before count whole where they judge by themselves.
            noise: see there; with one scale only.
            earlier: see there; with one scale only.

        Returns:
            Logits, float32 at least: [N] or [N, 1, h, w] with one scale; with several, those of K resolutions side by
            side, [N, K] or [N, K, h, w], K being min(scales, stage + 1).

        Raises:
            ValueError: noise or earlier features with several scales, or see there.
        """
        if self.scales == 1:
            return self._judged(x, stage, alpha, noise, earlier)
        if noise is not None or earlier is not None:
            raise ValueError("noise and earlier features go with a discriminator of one scale")
        verdicts = [self._judged(x, stage, alpha)]
        for s in range(stage - 1, max(stage - self.scales, -1), -1):
            x = downsample2x(x)
            verdicts.append(self._judged(x, s, 1.0))
        return torch.stack(verdicts, dim=1) if verdicts[0].ndim == 1 else torch.cat(verdicts, dim=1)

    def logit_layer(self) -> nn.Module | None:
        """See :meth:`GrowingDiscriminator.logit_layer`; none with several scales, which share it."""
        return super().logit_layer() if self.scales == 1 else None

    def noise_size(self, stage: int) -> int | None:
        """See :meth:`GrowingDiscriminator.noise_size`; none with several scales."""
        return super().noise_size(stage) if self.scales == 1 else None

    def _judged(
        self, x: Tensor, stage: int, alpha: float, noise: Noise | None = None, earlier: EarlierFeatures | None = None
    ) -> Tensor:
        logits = super().forward(x, stage, alpha, noise, earlier)
        assert isinstance(logits, Tensor)  # there are no classes
        return logits
