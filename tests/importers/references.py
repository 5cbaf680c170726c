"""Networks of other projects, written down from the names of their tensors: plain operations, nothing of progcycle."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

State = Mapping[str, Tensor]


def filled(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    """Random tensors of no special form: biases and statistics too."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            found[name] = torch.tensor(7)
            continue
        fan = max(1, torch.Size(shape[1:]).numel())
        found[name] = torch.randn(shape, generator=generator) / fan**0.5
        if name.endswith("running_var"):
            found[name] = found[name].abs() + 0.5
    return found


def conv(name: str, out: int, come: int, kernel: int, bias: bool = True) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {f"{name}.weight": (out, come, kernel, kernel)}
    return shapes | ({f"{name}.bias": (out,)} if bias else {})


def transposed(name: str, come: int, out: int, kernel: int, bias: bool = True) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {f"{name}.weight": (come, out, kernel, kernel)}
    return shapes | ({f"{name}.bias": (out,)} if bias else {})


def batch_norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {
        f"{name}.{key}": (channels,) for key in ("weight", "bias", "running_mean", "running_var")
    }
    return found | {f"{name}.num_batches_tracked": ()}


def norm(s: State, name: str, x: Tensor) -> Tensor:
    """Batch norm by running statistics where there are such, else instance norm, by their definitions."""
    if f"{name}.running_mean" in s and f"{name}.weight" in s:
        mean, variance = (s[f"{name}.{key}"][:, None, None] for key in ("running_mean", "running_var"))
        weight, bias = (s[f"{name}.{key}"][:, None, None] for key in ("weight", "bias"))
        return (x - mean) / (variance + 1e-5).sqrt() * weight + bias
    mean = x.mean(dim=(2, 3), keepdim=True)
    return (x - mean) / ((x - mean).square().mean(dim=(2, 3), keepdim=True) + 1e-5).sqrt()


def apply(s: State, name: str, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
    return F.conv2d(x, s[f"{name}.weight"], s.get(f"{name}.bias"), stride, padding)


def reflect(x: Tensor, pad: int) -> Tensor:
    return F.pad(x, (pad,) * 4, mode="reflect")


def resnet(s: State, x: Tensor, second: int = 5) -> Tensor:
    """Two blocks, at 10 and 11; the layers behind them are 12, 15 and 19."""
    h = F.relu(norm(s, "model.2", apply(s, "model.1", reflect(x, 3))))
    for at in (4, 7):
        h = F.relu(norm(s, f"model.{at + 1}", apply(s, f"model.{at}", h, 2, 1)))
    for at in (10, 11):
        y = F.relu(norm(s, f"model.{at}.conv_block.2", apply(s, f"model.{at}.conv_block.1", reflect(h, 1))))
        block = f"model.{at}.conv_block.{second}"
        h = h + norm(s, f"model.{at}.conv_block.{second + 1}", apply(s, block, reflect(y, 1)))
    for at in (12, 15):
        w, b = s[f"model.{at}.weight"], s.get(f"model.{at}.bias")
        h = F.relu(norm(s, f"model.{at + 1}", F.conv_transpose2d(h, w, b, stride=2, padding=1, output_padding=1)))
    return apply(s, "model.19", reflect(h, 3)).tanh()


def blur_down(x: Tensor) -> Tensor:
    row = torch.tensor([1.0, 2, 1], dtype=x.dtype)
    kernel = torch.outer(row, row) / 16
    return F.conv2d(reflect(x, 1), kernel.expand(x.shape[1], 1, 3, 3), stride=2, groups=x.shape[1])


def blur_up(x: Tensor) -> Tensor:
    row = torch.tensor([1.0, 3, 3, 1], dtype=x.dtype)
    kernel = torch.outer(row, row) / 64 * 4
    wide = F.pad(x, (1, 1, 1, 1), mode="replicate")
    y = F.conv_transpose2d(wide, kernel.expand(x.shape[1], 1, 4, 4), stride=2, padding=2, groups=x.shape[1])
    return y[:, :, 1:-1, 1:-1]


def cut_resnet(s: State, x: Tensor) -> Tensor:
    """Two blocks, at 12 and 13, with blurs; the layers behind them are 15, 19 and 23."""
    h = F.relu(norm(s, "model.2", apply(s, "model.1", reflect(x, 3))))
    for at in (4, 8):
        h = blur_down(F.relu(norm(s, f"model.{at + 1}", apply(s, f"model.{at}", h, 1, 1))))
    for at in (12, 13):
        y = F.relu(norm(s, "", apply(s, f"model.{at}.conv_block.1", reflect(h, 1))))
        h = h + norm(s, "", apply(s, f"model.{at}.conv_block.5", reflect(y, 1)))
    for at in (15, 19):
        h = F.relu(norm(s, "", apply(s, f"model.{at}", blur_up(h), 1, 1)))
    return apply(s, "model.23", reflect(h, 3)).tanh()


def unet(s: State, x: Tensor, levels: int) -> Tensor:
    """Blocks inside of blocks: what goes down, what is inside, and what goes up."""

    def up(name: str, h: Tensor) -> Tensor:
        return F.conv_transpose2d(F.relu(h), s[f"{name}.weight"], s.get(f"{name}.bias"), stride=2, padding=1)

    def block(prefix: str, level: int, h: Tensor) -> Tensor:
        y = apply(s, f"{prefix}.1", F.leaky_relu(h, 0.2), 2, 1)
        if level == levels - 1:
            return torch.cat([h, norm(s, f"{prefix}.4", up(f"{prefix}.3", y))], dim=1)
        y = block(f"{prefix}.3.model", level + 1, norm(s, f"{prefix}.2", y))
        return torch.cat([h, norm(s, f"{prefix}.6", up(f"{prefix}.5", y))], dim=1)

    h = apply(s, "model.model.0", x, 2, 1)
    return up("model.model.3", block("model.model.1.model", 1, h)).tanh()


def patchgan(s: State, x: Tensor) -> Tensor:
    """Three layers of stride 2, one of stride 1, and the logits."""
    h = F.leaky_relu(apply(s, "model.0", x, 2, 1), 0.2)
    for at, stride in ((2, 2), (5, 2), (8, 1)):
        h = F.leaky_relu(norm(s, f"model.{at + 1}", apply(s, f"model.{at}", h, stride, 1)), 0.2)
    return apply(s, "model.11", h, 1, 1)


def pixelgan(s: State, x: Tensor) -> Tensor:
    """1x1 convolutions at 0, 2 and 5; a norm, where there is one with weights, at 3."""
    h = F.leaky_relu(apply(s, "net.0", x), 0.2)
    return apply(s, "net.5", F.leaky_relu(norm(s, "net.3", apply(s, "net.2", h)), 0.2))


def cut_patchgan(s: State, x: Tensor) -> Tensor:
    """The same with blurs: layers at 0, 3, 7 and 11."""
    h = blur_down(F.leaky_relu(apply(s, "model.0", x, 1, 1), 0.2))
    for at in (3, 7):
        h = blur_down(F.leaky_relu(norm(s, "", apply(s, f"model.{at}", h, 1, 1)), 0.2))
    h = F.leaky_relu(norm(s, "", apply(s, "model.11", h, 1, 1)), 0.2)
    return apply(s, "model.14", h, 1, 1)


def resnet_shapes(n: int, come: int, go: int, second: int = 5, batch: bool = False) -> dict[str, tuple[int, ...]]:
    """Tensors of a ResNet with two blocks, by the table of its layers."""
    found = conv("model.1", n, come, 7, not batch) | conv("model.4", 2 * n, n, 3, not batch)
    found |= conv("model.7", 4 * n, 2 * n, 3, not batch)
    for at in (10, 11):
        for inner in (1, second):
            found |= conv(f"model.{at}.conv_block.{inner}", 4 * n, 4 * n, 3, not batch)
            found |= batch_norm(f"model.{at}.conv_block.{inner + 1}", 4 * n) if batch else {}
    found |= transposed("model.12", 4 * n, 2 * n, 3, not batch) | transposed("model.15", 2 * n, n, 3, not batch)
    found |= conv("model.19", go, n, 7)
    if batch:
        for at, wide in ((2, n), (5, 2 * n), (8, 4 * n), (13, 2 * n), (16, n)):
            found |= batch_norm(f"model.{at}", wide)
    return found


def cut_shapes(n: int) -> dict[str, tuple[int, ...]]:
    found = conv("model.1", n, 3, 7) | conv("model.4", 2 * n, n, 3) | conv("model.8", 4 * n, 2 * n, 3)
    for at in (12, 13):
        found |= conv(f"model.{at}.conv_block.1", 4 * n, 4 * n, 3) | conv(f"model.{at}.conv_block.5", 4 * n, 4 * n, 3)
    return found | conv("model.15", 2 * n, 4 * n, 3) | conv("model.19", n, 2 * n, 3) | conv("model.23", 3, n, 7)


def cut_kernels(channels: Mapping[int, tuple[int, int]]) -> dict[str, Tensor]:
    """By number of the layer: side of its constant kernel, and channels."""
    rows = {3: torch.tensor([1.0, 2, 1]), 4: torch.tensor([1.0, 3, 3, 1])}
    return {
        f"model.{at}.filt": (
            torch.outer(rows[side], rows[side]) / rows[side].sum() ** 2 * (4 if side == 4 else 1)
        ).repeat(wide, 1, 1, 1)
        for at, (side, wide) in channels.items()
    }


def unet_shapes(n: int, levels: int, batch: bool = False) -> dict[str, tuple[int, ...]]:
    widths = [n * min(1 << i, 8) for i in range(levels)]
    found = conv("model.model.0", n, 3, 4, not batch) | transposed("model.model.3", 2 * n, 2, 4)
    prefix = "model.model.1.model"
    for level in range(1, levels):
        narrow, wide = widths[level - 1], widths[level]
        inner = level == levels - 1
        found |= conv(f"{prefix}.1", wide, narrow, 4, not batch)
        up = 3 if inner else 5
        found |= transposed(f"{prefix}.{up}", wide * (1 if inner else 2), narrow, 4, not batch)
        if batch:
            found |= batch_norm(f"{prefix}.{up + 1}", narrow) | ({} if inner else batch_norm(f"{prefix}.2", wide))
        prefix += ".3.model"
    return found
