"""No key is taken and does nothing: changed alone, each changes what is trained, or is refused with a sentence.

Every key of the networks, the objective, the optimizer, the averages and the schedule of all tasks, away from its
default, in short runs: those of a default recipe, and of one with what the key belongs to.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from tiny_runs import write_pictures

from progcycle.data import build_loader
from progcycle.engine.run import Run
from progcycle.errors import UserError
from progcycle.recipe import TERMS, RecipeError, merge, override, validate
from progcycle.recipe.networks import players_of
from progcycle.recipe.overrides import models_of
from progcycle.recipe.schema import RECIPES

SECTIONS = ("network", "objective", "optimizer", "training.ema", "schedule")
DENSE = ["network.discriminator.head=dense"]
LSGAN = ["objective.loss=lsgan", "objective.gradient_penalty=null"]
NOISE = [*LSGAN, "schedule.stable_kimg=0.008", "objective.noise.limit=0", "objective.noise.signal=d_loss"]
LONG = ["schedule.stable_kimg=0.02"]
ADA = [
    "objective.loss=hinge", "objective.gradient_penalty=null", *LONG,
    "objective.augment={policy: [cutout], probability: 0.5, adaptive: {target: -0.9, kimg: 0.01, every: 1}}",
]  # fmt: skip
INSTEAD = [
    "network.discriminator.minibatch_stddev=off",
    "network.discriminator.minibatch_discrimination={init_pictures: 4}",
]
CLASSIC = ["network.generator=resnet", "network.discriminator=patchgan", "network.discriminator.layers=1"]
PATCHES = ["network.discriminator=patchgan", "network.discriminator.layers=1", "schedule.start_resolution=8"]
DEEPER = [
    "network.discriminator=patchgan", "network.discriminator.layers=2", "resolution=16", "schedule.start_resolution=16",
]  # fmt: skip

PROJECTED = [
    "network.discriminator=projected", "network.discriminator.architecture=efficientnet-lite0",
    "network.discriminator.feature_resolution=32", "network.discriminator.taps=[2, 4]",
    "network.discriminator.filters=4", *LSGAN,
]  # fmt: skip

ONE_SIZE = ["schedule.start_resolution=8"]
DCGAN = ["network.generator=dcgan", "network.generator.filters=4", *ONE_SIZE]

# A value away from the default, and what the key needs beside it to mean something: the same in both tasks.
COMMON: dict[str, tuple[str, list[str]]] = {
    "network.base_resolution": ("8", []),
    **{
        f"network.{player}.{key}": (value, [companion.format(player) for companion in companions])
        for player in ("generator", "discriminator")
        for key, value, companions in (
            ("channels.base", "8", []),
            ("channels.decay", "3", []),
            ("channels.max", "3", []),
            ("rgb", "sum", []),
            ("equalized", "false", []),
            ("slope", "0.1", []),
            ("initialization", "normal", ["network.{}.equalized=false"]),
            ("normalization", "instance", []),
            ("epsilon", "0.01", ["network.{}.normalization=pixel"]),
        )
    },
    "network.discriminator.minibatch_stddev.group": ("batch", ["schedule.batch_size=8"]),
    "network.discriminator.minibatch_stddev.averaging": ("spatial", []),
    "network.discriminator.minibatch_stddev.queue": ("3", ["network.discriminator.minibatch_stddev.group=batch"]),
    "network.discriminator.minibatch_discrimination.kernels": ("3", INSTEAD),
    "network.discriminator.minibatch_discrimination.dimensions": ("2", INSTEAD),
    "network.discriminator.minibatch_discrimination.init_pictures": ("3", INSTEAD),
    "network.discriminator.spectral_norm": ("true", []),
    "network.discriminator.architecture": ("efficientnet-lite1", PROJECTED),
    "network.discriminator.taps": ("[1, 4]", PROJECTED),
    "network.discriminator.feature_resolution": ("48", PROJECTED),
    "network.discriminator.mixing.channels": ("3", PROJECTED),
    "network.discriminator.mixing.cross_scale": ("false", PROJECTED),
    "network.discriminator.mixing.kernel": ("1", PROJECTED),
    "network.discriminator.taper": ("true", [*PROJECTED, "network.discriminator.feature_resolution=64"]),
    "network.discriminator.reset_heads": ("true", PROJECTED),
    "objective.loss": ("hinge", []),
    "objective.gradient_penalty.weight": ("3", []),
    "objective.gradient_penalty.target": ("2", []),
    "objective.r1.gamma": ("3", []),
    "objective.r1.every": ("2", ["objective.r1.gamma=9"]),
    "objective.r2.gamma": ("3", []),
    "objective.r2.every": ("2", ["objective.r2.gamma=9"]),
    "objective.drift": ("0.5", ["objective.loss=wgan", "objective.gradient_penalty.weight=10"]),
    "objective.weight_clipping": ("0.01", ["objective.loss=wgan", "objective.weight_clipping=9"]),
    "objective.label_smoothing.real": ("0.8", ["objective.loss=non_saturating"]),
    "objective.label_smoothing.generator": (
        "0.5",
        ["objective.loss=non_saturating", "objective.label_smoothing.real=0.8"],
    ),
    "objective.feature_matching.distance": ("l2", ["objective.feature_matching={distance: l1}"]),
    "objective.critic_boost.n_critic": ("3", ["objective.critic_boost={n_critic: 2}"]),
    "objective.critic_boost.first": ("0", ["objective.critic_boost={n_critic: 2, every: 2}"]),
    "objective.critic_boost.every": ("2", ["objective.critic_boost={n_critic: 2, first: 0}", *LONG]),
    "objective.lsgan_factor": ("0.5", LSGAN),
    "objective.lsgan_fake_factor": ("0.5", LSGAN),
    "objective.noise.mode": ("mul", NOISE),
    "objective.noise.signal": ("real", [*LSGAN, "objective.noise={limit: 0, gain: 9, signal: d_loss}"]),
    "objective.noise.gain": ("9", NOISE),
    "objective.noise.limit": ("0.3", [*LSGAN, "objective.noise={limit: 0, gain: 9, signal: d_loss}"]),
    "objective.noise.exponent": ("1", NOISE),
    "objective.noise.momentum": ("0.1", NOISE),
    "objective.augment.policy": ("[flip, cutout]", []),
    "objective.augment.probability": ("0.3", ["objective.augment.policy=[cutout]"]),
    "objective.augment.adaptive.target": ("0.9", ADA),
    "objective.augment.adaptive.kimg": ("0.05", ADA),
    "objective.augment.adaptive.every": ("3", ADA),
    "objective.augment.adaptive.maximum": ("0.55", ADA),
    "objective.n_critic": ("2", []),
    **{
        f"optimizer.{player}.{key}": (value, [companion.format(player) for companion in companions])
        for player in ("generator", "discriminator")
        for key, value, companions in (
            ("name", "sgd", []),
            ("lr", "0.1", []),
            ("betas", "[0.5, 0.9]", []),
            ("eps", "0.1", []),
            ("smoothing", "0.5", ["optimizer.{}.name=rmsprop"]),
            ("momentum", "0.5", ["optimizer.{}.name=sgd", *LONG]),
            ("dampened", "true", ["optimizer.{}.name=sgd", "optimizer.{}.momentum=0.5", *LONG]),
            ("weight_decay", "0.1", []),
            ("historical_averaging", "0.5", []),
        )
    },
    "optimizer.reset": ("never", []),
    "training.ema.half_life_kimg": ("0.002", ["training.ema.rampup=1"]),
    "training.ema.rampup": ("0.5", []),
    "training.ema.per_step": ("0.5", []),
    "schedule.start_resolution": ("8", []),
    "schedule.stable_kimg": ("0.008", []),
    "schedule.fade_kimg": ("0.008", []),
    "schedule.total_kimg": ("0.016", []),
    "schedule.batch_size": ("2", []),
    "schedule.lr_scale": ("0.5", []),
    "schedule.rampup_kimg": ("0.01", []),
    "schedule.stage_rampup_kimg": ("0.01", []),
    "schedule.decay_kimg": ("0.01", []),
    "schedule.hold_resolution": ("4", []),
    "schedule.fade_reals": ("false", ["schedule.fade_kimg=0.008"]),
    "schedule.new_stage": ("copy", ["network.channels={base: 4, max: 4, decay: 0}"]),
    "schedule.old_layers.share": ("0.9", ["schedule.old_layers.lr_scale=0.5"]),
    "schedule.old_layers.lr_scale": ("0.5", ["schedule.old_layers.share=0.9"]),
}
# A discriminator may have most keys of the objective for itself.
COMMON |= {
    key.replace("objective", "network.discriminator"): (
        value,
        [companion.replace("objective", "network.discriminator") for companion in companions],
    )
    for key, (value, companions) in COMMON.items()
    if key.startswith("objective") and key.split(".")[1] in TERMS
}
COMMON |= {
    "network.discriminator.lr": ("0.1", []),
    "network.discriminator.reduce": ("2", []),
    "objective.balance.most": (
        "1.001",
        ["network.discriminator=[pggan, {name: pggan, loss: hinge}]", "objective.balance={}"],
    ),
}
OWN: dict[str, dict[str, tuple[str, list[str]]]] = {
    "pggan": {
        "network.discriminator.name": ("progressive", []),
        "network.generator.name": ("mlp", ONE_SIZE),
        "network.generator.latent_size": ("5", []),
        "network.generator.distribution": ("uniform", DCGAN),
        "network.generator.filters": ("5", DCGAN),
        "network.generator.statistics": ("batch", DCGAN),
        "network.generator.reference_batch": ("8", [*DCGAN, "network.generator.normalization=virtual"]),
        "network.generator.layers": ("3", ["network.generator=mlp", *ONE_SIZE]),
        "network.generator.convs": ("1", []),
        "network.discriminator.convs": ("1", []),
        "network.generator.rgb_kernel": ("3", []),
        "network.generator.tanh": ("true", []),
        "network.generator.fused_scale": ("true", []),
        "network.discriminator.fused_scale": ("true", []),
        "network.discriminator.head": ("dense", ["network.discriminator=progressive"]),
        "network.discriminator.scales": ("2", ["network.discriminator=progressive"]),
        "network.discriminator.filters": ("7", PATCHES),
        "network.discriminator.downsampling": ("blurred", PATCHES),
        "network.generator.dense_bias": ("unit", []),
        "network.discriminator.layers": ("1", DEEPER),
        "objective.simultaneous": ("true", []),
        "objective.classes.real": ("0.5", ["data.labels=folders"]),
        "objective.classes.fake": ("0.5", ["data.labels=folders"]),
    },
    "cyclegan": {
        **{key: (value, [*INSTEAD, *DENSE]) for key, (value, more) in COMMON.items() if more is INSTEAD},
        "network.generator.name": ("resnet", ["schedule.start_resolution=8"]),
        "network.discriminator.name": ("pggan", []),
        "network.generator.residual_blocks": ("2", []),
        "network.generator.skips": ("false", []),
        "network.generator.predict": ("picture", []),
        "network.generator.smooth": ("true", []),
        "network.generator.latents.ab": ("3", []),
        "network.generator.latents.ba": ("3", []),
        "network.generator.latents.drawn": ("real", ["network.generator.latents.ab=3"]),
        "network.generator.latents.neighbours": (
            1, ["network.generator.latents.ab=3", "network.generator.latents.drawn=real"]
        ),
        "objective.latent.weight": ("3", ["network.generator.latents.ab=3"]),
        "objective.latent.prior": ("3", ["network.generator.latents.ab=3"]),
        "objective.latent.queue": ("3", ["network.generator.latents.ab=3", "objective.latent.prior=3"]),
        "network.generator.bounded.ab": ("true", ["optimizer.generator.lr=1"]),
        "network.generator.bounded.ba": ("true", ["optimizer.generator.lr=1"]),
        "objective.palette.a": ("3", []),
        "objective.palette.b": ("3", []),
        "objective.palette.queue": ("3", ["objective.palette.b=3"]),
        "objective.range_penalty": ("10", ["optimizer.generator.lr=1"]),
        "network.discriminator.head": ("dense", []),
        "network.discriminator.scales": ("2", []),
        "network.generator.filters": ("5", CLASSIC),
        "network.discriminator.filters": ("7", CLASSIC),
        "network.generator.upsampling": ("resize", CLASSIC),
        "network.generator.downsampling": ("blurred", CLASSIC),
        "network.discriminator.downsampling": ("blurred", CLASSIC),
        "network.discriminator.convs": ("1", ["network.discriminator=pggan"]),
        "network.discriminator.fused_scale": ("true", ["network.discriminator=pggan"]),
        "network.discriminator.layers": ("1", DEEPER),
        "network.discriminator.weight": ("3", []),
        "objective.cycle.aba": ("3", []),
        "objective.cycle.bab": ("3", []),
        "objective.cycle.scales": ("2", []),
        "objective.cycle.through": ("blurred", []),
        "objective.cycle.detach": ("[bab]", []),
        "objective.cycle.noise_std": ("0.5", ["objective.cycle.through=noisy"]),
        "objective.identity.a": ("0.5", []),
        "objective.identity.b": ("0.5", []),
        "objective.pool_size": ("2", LONG),
    },
}  # fmt: skip
# The networks of BEGAN that do not grow.
FIXED = ["network.generator=began", "network.discriminator=began"]
# Small weights make the first fakes grey, which is restored at once, so that k rises.
GREY = ["network.equalized=false", "network.initialization=normal", "objective.gamma=0.7"]
OWN["began"] = {
    **{
        f"network.{player}.{key}": (value, companions)
        for player in ("generator", "discriminator")
        for key, value, companions in (
            ("name", "began", ["schedule.start_resolution=8"]),
            ("latent_size", "5", []),
            ("convs", "1", []),
            ("rgb_kernel", "1", []),
            ("nonlinearity", "leaky_relu", []),
            ("slope", "0.1", [f"network.{player}.nonlinearity=leaky_relu"]),
            ("filters", "5", FIXED),
            ("skips", "true", [*FIXED, "resolution=16", "schedule.start_resolution=16"]),
            ("vanishing_kimg", "0.1", FIXED),
        )
    },
    "network.generator.distribution": ("normal", []),
    "objective.gamma": ("0.9", GREY),
    "objective.lambda_k": ("0.5", GREY),
    "objective.k_rule": ("article", GREY),
    "objective.k_on_new_stage": ("reset", GREY),
    "optimizer.halving.stall_kimg": ("0.004", [*LONG, "optimizer.generator.lr=0.05"]),
    "optimizer.halving.every_kimg": ("0.004", []),
    "optimizer.halving.floor": ("0.00009", ["optimizer.halving.every_kimg=0.004"]),
}
# The dense networks of a LAPGAN's coarsest level, in a PG-GAN that does not grow.
DENSE_PAIR = ["network.generator=lapgan_mlp", "network.discriminator=lapgan_mlp"]
OWN["pggan"] |= {
    "network.generator.hidden": ("5", DENSE_PAIR),
    "network.discriminator.hidden": ("5", DENSE_PAIR),
    "network.discriminator.dropout": ("0.2", DENSE_PAIR),
}
OWN["lapgan"] = {
    "network.base_resolution": ("16", ["resolution=32"]),
    "network.generator.name": ("lapgan_large", []),
    "network.generator.filters": ("4", []),
    "network.generator.pyramid": ("bilinear", []),
    "network.discriminator.name": ("lapgan_large", []),
    "network.discriminator.filters": ("4", []),
    "network.discriminator.dropout": ("0.2", []),
    "network.coarsest_generator.name": ("pggan", []),
    "network.coarsest_generator.latent_size": ("5", []),
    "network.coarsest_generator.hidden": ("4", []),
    "network.coarsest_discriminator.name": ("lapgan", ["network.base_resolution=16", "resolution=32"]),
    "network.coarsest_discriminator.filters": (
        "4",
        ["network.base_resolution=16", "resolution=32", "network.coarsest_discriminator=lapgan"],
    ),
    "network.coarsest_discriminator.hidden": ("4", []),
    "network.coarsest_discriminator.dropout": ("0.2", []),
    "objective.simultaneous": ("true", []),
}
# What a task refuses, whatever the value.
REFUSED = {
    "lapgan": {
        "objective.balance.most": "2",
        **{f"objective.critic_boost.{key}": "7" for key in ("n_critic", "first", "every")},
        **{f"objective.noise.{key}": "0.5" for key in ("gain", "limit", "exponent", "momentum")},
        "objective.noise.mode": "mul",
        "objective.noise.signal": "fake",
        "optimizer.reset": "never",
        "schedule.growth": "size",
        "schedule.start_resolution": "8",
        "schedule.hold_resolution": "8",
        "schedule.fade_kimg": "0.008",
        "schedule.fade_reals": "false",
        "schedule.stage_rampup_kimg": "0.01",
        "schedule.new_stage": "copy",
        "schedule.old_layers.share": "0.9",
        "schedule.old_layers.lr_scale": "0.5",
    }
}
# Keys that change nothing in runs as short, on one process, as these; and why.
ELSEWHERE = {
    "network.discriminator.hidden": "of dense networks, see PG-GANs and LAPGANs",
    "network.discriminator.dropout": "of the networks of LAPGANs",
    "network.discriminator.weights": "a file, see test_pretrained.py and test_projected_runs.py",
    "network.discriminator.minibatch_stddev.gather": "joins the pictures of several processes",
    "network.discriminator.minibatch_discrimination.gather": "joins the pictures of several processes",
    "network.discriminator.weight": "weighs several of a PG-GAN, see tests/tasks/test_discriminators.py",
    "objective.simultaneous": "refused for translators, see test_options.py",
    "schedule.growth": "refused for PG-GANs, see test_growth_by_size.py",
}
# Without what it belongs to a key may also rest: a recipe that others extend, or a plan that does not grow, names it.
MAY_REST = {
    **{
        f"{section}.noise.{key}": "its strength is still 0"
        for section in ("objective", "network.discriminator")
        for key in ("mode", "signal", "gain", "limit", "exponent", "momentum")
    },
    "network.generator.bounded.ab": "no picture is out of bounds yet",
    "network.generator.bounded.ba": "no picture is out of bounds yet",
    **{f"objective.{key}": "k is still 0" for key in ("gamma", "lambda_k", "k_rule", "k_on_new_stage")},
    "optimizer.halving.stall_kimg": "M cannot stall in the only window of a stage",
    "objective.range_penalty": "no picture is out of bounds yet",
    "training.ema.half_life_kimg": "the rampup decides in short runs",
    "schedule.fade_reals": "alpha is 0 in a fade of one step, where sharp and faded pictures are judged alike",
}


STACK = ["network.autoencoder=began"]
# The one network of an autoencoder has the keys that generators and discriminators have in common.
_NOT_OF_ONE = (
    "network.discriminator",
    "network.generator",
    "objective",
    "optimizer.discriminator",
    "optimizer.generator",
)
OF_AUTOENCODERS = {key: told for key, told in COMMON.items() if not key.startswith(_NOT_OF_ONE)}
OF_AUTOENCODERS |= {
    key.replace("generator", "autoencoder"): (
        value,
        [companion.replace("generator", "autoencoder") for companion in more],
    )
    for key, (value, more) in COMMON.items()
    if key.startswith(("network.generator", "optimizer.generator"))
}
OWN["autoencoder"] = {
    "network.autoencoder.name": ("began", ["schedule.start_resolution=8"]),
    "network.autoencoder.latent_size": ("5", []),
    "network.autoencoder.convs": ("1", []),
    "network.autoencoder.rgb_kernel": ("1", []),
    "network.autoencoder.nonlinearity": ("leaky_relu", []),
    "network.autoencoder.slope": ("0.1", ["network.autoencoder.nonlinearity=leaky_relu"]),
    "network.autoencoder.filters": ("5", STACK),
    "network.autoencoder.skips": ("true", [*STACK, "resolution=16", "schedule.start_resolution=16"]),
    "network.autoencoder.vanishing_kimg": ("0.1", STACK),
    "objective.loss": ("l2", []),
}


def leaves(model: type[BaseModel], prefix: str) -> Iterator[str]:
    """The dotted keys of a section, but those of sections in it, whose own keys follow."""
    for key, field in model.model_fields.items():
        inner = models_of(field.annotation)
        if inner and not any(isinstance(arg, str) for arg in get_args(field.annotation)):
            yield from leaves(inner[0], f"{prefix}.{key}")
        else:
            yield f"{prefix}.{key}"


def keys(task: str) -> list[str]:
    found: list[str] = []
    for section in SECTIONS:
        model: type[BaseModel] = RECIPES[task]
        for name in section.split("."):
            model = models_of(model.model_fields[name].annotation)[0]
        players = players_of(model)
        found += [key for key in leaves(model, section) if key.rpartition(".")[2] not in players]
        for player, marker in players.items():
            for name in marker.networks:
                if task == "lapgan" and not name.startswith("lapgan"):
                    continue  # a PG-GAN's
                options = marker.options_of(name)
                assert options is not None
                found += leaves(options, f"{section}.{player}")
    return found


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    for i, name in enumerate(("trainA/x", "trainA/y", "trainB", "testA")):
        write_pictures(root / name, 3, i, side=9)
    return root


def recipe(task: str, pictures: Path, changes: list[str]) -> Any:
    content = {
        "task": task,
        "resolution": 8,
        "data": {"workers": 0, "cache_resolution": 0},
        "network": {"base_resolution": 4, "channels": {"base": 12, "max": 4}},
        "schedule": {"stable_kimg": 0.004, "fade_kimg": 0.004, "batch_size": 4},
        "training": {"precision": "no"},
    }
    own: dict[str, Any] = {"data": {"root": str(pictures)}, "network": {"generator": {"residual_blocks": 1}}}
    if task == "autoencoder":
        own = {"data": {"path": str(pictures / "trainA")}, "network": {"autoencoder": {"latent_size": 3}}}
        if STACK[0] in changes:
            own["network"]["filters"] = 4
            content.update(network={}, schedule={"stable_kimg": 0.008, "batch_size": 4})
    elif task == "pggan":
        own = {"data": {"path": str(pictures / "trainA")}, "network": {"generator": {"latent_size": 3}}}
        if DENSE_PAIR[0] in changes:
            own["network"] = {"hidden": 6}
            content.update(network={}, schedule={"stable_kimg": 0.008, "batch_size": 4})
    elif task == "began":
        networks = {"name": "progressive", "latent_size": 3}
        own = {
            "data": {"path": str(pictures / "trainA")},
            "network": {"generator": networks, "discriminator": networks},
        }
        if FIXED[0] in changes and FIXED[1] in changes:
            own["network"] = {"filters": 4, "latent_size": 3}
            content.update(network={}, schedule={"stable_kimg": 0.008, "batch_size": 4})
    elif task == "lapgan":
        own = {"data": {"path": str(pictures / "trainA")}, "resolution": 16}
        dense = {"hidden": 6, "latent_size": 3}
        network = {"filters": 3}
        content.update(
            network={
                "generator": network,
                "discriminator": network,
                "coarsest_generator": dense,
                "coarsest_discriminator": {"hidden": 6},
            },
            schedule={"stable_kimg": 0.02, "batch_size": 4},
        )
    elif CLASSIC[0] in changes:
        own["network"] = {"filters": 4}
        content.update(network={}, schedule={"stable_kimg": 0.008, "batch_size": 4})
    return validate(override(merge(content, own), changes))


def trained(task: str, pictures: Path, folder: Path, changes: list[str]) -> str:
    """A digest of all weights and averages at the end of a run of some steps from 4 to 8 px."""
    folder.mkdir()
    training = Run(recipe(task, pictures, changes), folder / "run")
    training.initialize()
    where: dict[str, Any] = {"rank": 0, "processes": 1, "start_nimg": 0, "workers": 0, "pin_memory": False}
    for _, growth, batches in build_loader(training.context.sets, training.schedule, **where):
        training.train_step(batches, growth)
    digest = hashlib.sha256()
    for networks in (training.trainer.task.networks, training.trainer.ema.networks):
        for name, network in sorted(networks.items()):
            for key, value in network.state_dict().items():
                digest.update(f"{name} {key} {tuple(value.shape)}".encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def told(task: str) -> dict[str, tuple[str, list[str]]]:
    known = set(keys(task))
    common = OF_AUTOENCODERS if task == "autoencoder" else COMMON
    refused = REFUSED.get(task, {})
    own = {key: told for key, told in common.items() if task in ("pggan", "cyclegan") or key in known} | OWN[task]
    return {key: told for key, told in own.items() if key not in refused}


@pytest.mark.parametrize("task", RECIPES)
def test_every_key_is_looked_at(task: str) -> None:
    assert set(keys(task)) == set(told(task)) | set(REFUSED.get(task, {})) | (set(ELSEWHERE) & set(keys(task)))


@pytest.mark.parametrize(("task", "key"), [(task, key) for task, refused in REFUSED.items() for key in refused])
def test_keys_that_mean_nothing_to_a_task_are_refused(task: str, key: str, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises((RecipeError, UserError), match=key.rpartition(".")[0] if key.count(".") > 1 else f"{key}: "):
        trained(task, pictures, tmp_path / "run", [f"{key}={REFUSED[task][key]}"])


@pytest.mark.parametrize("task", RECIPES)
def test_every_key_changes_what_is_trained(task: str, pictures: Path, tmp_path: Path) -> None:
    known: dict[tuple[str, ...], str] = {}
    idle = []
    for i, (key, (value, companions)) in enumerate(told(task).items()):
        if task == "cyclegan" and key.startswith(("schedule", "optimizer", "training")):
            continue  # nothing of the task is in these
        if tuple(companions) not in known:
            known[tuple(companions)] = trained(task, pictures, tmp_path / f"{i}-without", companions)
        with_it = trained(task, pictures, tmp_path / f"{i}-with", [*companions, f"{key}={value}"])
        idle += [key] if with_it == known[tuple(companions)] else []
    assert idle == []


@pytest.mark.parametrize("task", RECIPES)
def test_a_key_without_what_it_belongs_to_is_refused_or_does_something(
    task: str, pictures: Path, tmp_path: Path
) -> None:
    plain = trained(task, pictures, tmp_path / "plain", [])
    idle = []
    for i, (key, (value, companions)) in enumerate(told(task).items()):
        if not companions or key in MAY_REST:
            continue
        try:
            alone = trained(task, pictures, tmp_path / str(i), [f"{key}={value}"])
        except (RecipeError, UserError):
            continue
        idle += [key] if alone == plain else []
    assert idle == []
