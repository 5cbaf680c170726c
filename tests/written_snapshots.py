"""Tiny snapshots with random weights, by the library's own writer."""

from pathlib import Path
from typing import Any

import torch

from progcycle.export import save_snapshot
from progcycle.networks import ENCODERS, GENERATORS, TRANSLATORS
from progcycle.recipe import validate
from progcycle.schedule import Growth


def _specs(
    task: str, in_a: int, in_b: int, latents: int = 0, neighbours: int = 0, **options: Any
) -> dict[str, dict[str, Any]]:
    if task == "pggan":
        arguments = {"channels": [8, 6, 4], "latent_size": 5, "base_resolution": 4, "image_channels": in_a, **options}
        return {"generator": {"name": "pggan", "arguments": arguments}}
    shared = {"channels": [8, 6, 4], "residual_blocks": 1, **options}
    specs = {
        "gen_ab": {"name": "progressive", "arguments": {**shared, "in_channels": in_a, "out_channels": in_b}},
        "gen_ba": {"name": "progressive", "arguments": {**shared, "in_channels": in_b, "out_channels": in_a}},
    }
    if latents:
        specs["gen_ab"]["arguments"]["latents"] = latents
        arguments = {"channels": 8, "latents": latents, "image_channels": in_b}
        if neighbours:
            arguments |= {"remembered": 16, "neighbours": neighbours, "source_channels": in_a}
        specs["enc_b"] = {"name": "latents", "arguments": arguments}
    return specs


def write_snapshot(
    folder: Path,
    task: str = "cyclegan",
    stage: int = 2,
    alpha: float = 1.0,
    channels: tuple[int, int] = (3, 3),
    nimg: int = 12000,
    data: dict[str, Any] | None = None,
    schedule: dict[str, Any] | None = None,
    seed: int = 0,
    classes: tuple[str, ...] = (),
    **options: Any,
) -> Path:
    """A snapshot at ``folder``: base 4 px (PG-GAN) or 8 px (CycleGAN), three stages; ``latents`` from A to B only,
    with ``neighbours`` those of 12 real pictures."""
    base = 4 if task == "pggan" else 8
    recipe = validate(
        {
            "task": task,
            "resolution": 4 * base,
            "seed": 7,
            "data": data or ({"path": "nowhere"} if task == "pggan" else {"root": "nowhere"}),
            "network": {"base_resolution": base},
            "schedule": {"batch_size": {"default": 4, 16: 2}, **(schedule or {})},
        }
    )
    torch.manual_seed(seed)
    specs = _specs(task, *channels, **options, **({"classes": len(classes)} if classes else {}))
    registry = GENERATORS if task == "pggan" else TRANSLATORS | ENCODERS
    networks = {name: registry[spec["name"]](**spec["arguments"]) for name, spec in specs.items()}
    if options.get("neighbours"):
        networks["enc_b"].remember(torch.randn(12, options["latents"]), torch.rand(12, channels[0], 8, 8) * 2 - 1)
    growth = Growth(stage, base << stage, alpha)
    return save_snapshot(
        folder,
        task=task,
        networks=networks,
        specs=specs,
        growth=growth,
        base_resolution=base,
        nimg=nimg,
        recipe=recipe,
        classes=classes,
    )
