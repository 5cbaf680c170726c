"""Trained models for other runtimes: ONNX, and the ``.pt2`` of torch.export.

A file holds one direction of translators, or a generator, at one stage and alpha, as plain layers
(:mod:`progcycle.export.folding`). It is written only if it computes what the model computes.
"""

import copy
import importlib
import json
import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from progcycle import __version__
from progcycle.blocks import from_levels, level_step, max_level, to_levels
from progcycle.errors import UserError
from progcycle.export.data_terms import folders, licence_of_data
from progcycle.export.folding import fold
from progcycle.export.graph import Form, Graph, LabelForm, LatentForm, PictureForm
from progcycle.export.snapshot_model import SnapshotModel
from progcycle.files import atomic_file
from progcycle.pretrained import MissingExtra
from progcycle.resolution import Resolution

Format = Literal["onnx", "pt2"]
TOLERANCE = 1e-4  # of numbers in [-1, 1]
DIFFERING = 0.05  # share of grey levels that rounding may take to a neighbour
METADATA = "progcycle.json"  # among the extra files of a .pt2
NO_LICENCE = "not stated: see the terms of the pictures that it was trained on"
EXTRA = "Exporting to ONNX needs {}; install it with pip install 'progcycle[export]', or give the format pt2."


@dataclass(frozen=True)
class ExportedFile:
    """A file that was written.

    Attributes:
        path: where it is.
        metadata: what it says of itself, as JSON can hold it; the file has every value as text.
        difference: the largest one from the model that was measured, of numbers in [-1, 1], or in grey levels of a file
            that gives uint8.
    """

    path: Path
    metadata: Mapping[str, Any]
    difference: float

    @property
    def grey_levels(self) -> float:
        """The difference in grey levels of 8 bits."""
        return (
            self.difference
            if self.metadata["outputs"]["output"]["dtype"] == "uint8"
            else self.difference / level_step()
        )


def export_model(
    model: SnapshotModel,
    folder: str | Path,
    format: Format = "onnx",
    *,
    direction: str | None = None,
    resolution: int | None = None,
    uint8: bool = False,
    half: bool = False,
    licence: str | None = None,
    overwrite: bool = False,
) -> list[ExportedFile]:
    """Write a model for another runtime: ``generator.onnx``, or ``ab.onnx`` and ``ba.onnx``.

    Inputs are called ``input``, and where there are any ``latents`` (of translators) or ``labels`` (numbers of
    classes); what comes out is ``output``. The first axis is a batch of any size, and height and width of a
    translator's pictures are free, in the multiples that the metadata name. Each file is compared with the model at
    three sizes before it is written.

    Args:
        model: as ``progcycle.load`` gives it.
        folder: is made if need be.
        format: ``onnx``, or ``pt2`` for ``torch.export.load``.
        direction: of translators, ``ab`` or ``ba``; default: both.
        resolution: an earlier stage, one number being the shorter side; default: the snapshot's own.
        uint8: pictures go in and come out as files hold them, [N, H, W, C] of uint8, not as [N, C, H, W] of
            float32 in [-1, 1]; the file is called ``ab_uint8.onnx``.
        half: weights of convolutions in float16, which takes half the space; ``ab_fp16.onnx``. Inputs and outputs stay
            as they are. How far it is from the model is measured, and not limited.
        licence: of the weights, for the metadata; default: that of the stores that training read, if they are there.
        overwrite: whether files of these names may be replaced.

    Returns:
        What was written, with its metadata.

    Raises:
        MissingExtra: ``onnx`` is asked for, and the extra ``export`` is not installed.
        UserError: such a model cannot be exported, the file exists, there is no such stage, pictures of training do not
            fit in uint8, or a file would differ from the model by more than 1e-4. Nothing is written then.
    """
    exporter: type[_Product] = _TorchExport if format == "pt2" else _Onnx
    exporter.check()
    graphs = model.graphs(direction, resolution)
    ending = "_uint8" * uint8 + "_fp16" * half + f".{format}"
    paths = [Path(folder) / (graph.name + ending) for graph in graphs]
    for path, graph in zip(paths, graphs, strict=True):
        if path.exists() and not overwrite:
            raise UserError(f"{path} exists already; give another folder, or --overwrite to replace it.")
        if uint8:
            _check_uint8(graph)
    if model.device.type != "cpu" or model.dtype != torch.float32:
        graphs = copy.deepcopy(model).to("cpu", torch.float32).graphs(direction, resolution)
    common = {**_about_run(model), "license": licence or licence_of_data(model.config.recipe) or NO_LICENCE}
    products = list[tuple[_Product, dict[str, Any], float]]()
    for path, graph in zip(paths, graphs, strict=True):
        with _quietly(path):
            product, measured = exporter.of(graph, uint8, half)
        _check(path, measured, uint8, half)
        about = {**common, **_about(graph, uint8, half), **product.about, "checked": measured}
        products.append((product, about, max(size["difference"] for size in measured)))
    for path, (product, about, _) in zip(paths, products, strict=True):
        with atomic_file(path) as temporary:
            product.save(temporary, about)
    return [ExportedFile(path, about, most) for path, (_, about, most) in zip(paths, products, strict=True)]


class _Product(ABC):
    """A file in the making."""

    needs: ClassVar[tuple[str, ...]] = ()
    about: Mapping[str, Any]

    @abstractmethod
    def __call__(self, *inputs: Tensor) -> Tensor:
        """What its runtime computes."""

    @abstractmethod
    def save(self, path: Path, about: Mapping[str, Any]) -> None:
        """Write it."""

    @classmethod
    @abstractmethod
    def of(cls, graph: Graph, uint8: bool, half: bool) -> tuple["_Product", list[dict[str, Any]]]:
        """The product, and how far it is from the model."""

    @classmethod
    def check(cls) -> None:
        """Refuse to begin without the libraries.

        Raises:
            MissingExtra: one of them is not installed.
        """
        try:
            for name in cls.needs:
                importlib.import_module(name)
        except ImportError as error:
            raise MissingExtra(EXTRA.format(error.name)) from None


class _Onnx(_Product):
    """A graph as ONNX, run by onnxruntime."""

    needs = ("onnx", "onnx_ir", "onnxruntime", "onnxscript")

    def __init__(self, graph: Graph, program: ExportedProgram, uint8: bool) -> None:
        import onnxruntime

        made = torch.onnx.export(
            program,
            (),
            dynamo=True,
            input_names=list(graph.inputs),
            output_names=["output"],
            external_data=False,
            verbose=False,
            optimize=False,
        )
        assert made is not None
        _simplify(made.model)
        self.proto = made.model_proto
        for part in (self.proto.graph, *self.proto.graph.node, *self.proto.graph.initializer, *self.proto.graph.input):
            del part.metadata_props[:]  # lines of Python, with the paths of this machine
        _free_axes(self.proto, graph, uint8)
        self.names = list(graph.inputs)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; a warning about an initializer is not for users
        self.session = onnxruntime.InferenceSession(
            self.proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        opset = next(entry.version for entry in self.proto.opset_import if entry.domain in ("", "ai.onnx"))
        self.about = {"opset": opset}

    @classmethod
    def of(cls, graph: Graph, uint8: bool, half: bool) -> tuple[_Product, list[dict[str, Any]]]:
        """The product, and how far it is from the model.

        A trace at one size takes seconds, one with free sizes a minute. The first one serves if the graph works at
        other sizes all the same, since ONNX names no size unless a network computes with it.
        """
        with suppress(Exception):  # of onnxruntime, at another size
            product = cls(graph, _program(graph, uint8, half, free=False), uint8)
            measured = _differences(graph, product, uint8)
            if not any(_fault(size, uint8, half=False) for size in measured):
                return product, measured
        product = cls(graph, _program(graph, uint8, half, free=True), uint8)
        return product, _differences(graph, product, uint8)

    def __call__(self, *inputs: Tensor) -> Tensor:
        fed = {name: x.numpy() for name, x in zip(self.names, inputs, strict=True)}
        return torch.from_numpy(self.session.run(["output"], fed)[0])

    def save(self, path: Path, about: Mapping[str, Any]) -> None:
        self.proto.producer_name, self.proto.producer_version = "progcycle", __version__
        del self.proto.metadata_props[:]
        for key, value in _as_texts(about).items():
            self.proto.metadata_props.add(key=key, value=value)
        path.write_bytes(self.proto.SerializeToString())


class _TorchExport(_Product):
    """A graph as torch.export has it, run by torch."""

    def __init__(self, program: ExportedProgram) -> None:
        self.program, self.run = program, program.module()
        self.about: Mapping[str, Any] = {"torch": torch.__version__}

    @classmethod
    def of(cls, graph: Graph, uint8: bool, half: bool) -> tuple[_Product, list[dict[str, Any]]]:
        """The product, and how far it is from the model."""
        product = cls(_program(graph, uint8, half, free=True))
        return product, _differences(graph, product, uint8)

    @torch.no_grad()
    def __call__(self, *inputs: Tensor) -> Tensor:
        y: Tensor = self.run(*inputs)
        return y

    def save(self, path: Path, about: Mapping[str, Any]) -> None:
        torch.export.save(self.program, path, extra_files={METADATA: json.dumps(about, indent=1)})


def read_metadata(path: str | Path) -> dict[str, Any]:
    """What an exported file says of itself.

    Raises:
        UserError: it is no file that :func:`export_model` wrote.
        MissingExtra: it is ONNX, and the extra ``export`` is not installed.
    """
    path = Path(path)
    if path.suffix == ".onnx":
        _Onnx.check()
        import onnx

        with _quietly(path):
            texts = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
        return {key: _parsed(value) for key, value in texts.items()}
    extra = {METADATA: ""}
    with _quietly(path):
        torch.export.load(path, extra_files=extra)
    content: dict[str, Any] = json.loads(extra[METADATA] or "{}")
    return content


def _as_texts(about: Mapping[str, Any]) -> dict[str, str]:
    """Metadata of ONNX are texts: what is none is JSON."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in about.items()}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


class _AsLevels(nn.Module):
    """A graph whose pictures are grey levels, as files and canvases have them: [N, H, W, C] of uint8."""

    def __init__(self, module: nn.Module, pictures_in: bool) -> None:
        super().__init__()
        self.module, self.pictures_in = module, pictures_in

    def forward(self, input: Tensor, second: Tensor | None = None) -> Tensor:
        x = from_levels(input.permute(0, 3, 1, 2)) if self.pictures_in else input
        y: Tensor = self.module(x) if second is None else self.module(x, second)
        return to_levels(y).permute(0, 2, 3, 1).contiguous()


def _program(graph: Graph, uint8: bool, half: bool, free: bool) -> ExportedProgram:
    """The folded graph; free: with every axis dynamic that may be, else for one size."""
    count, sides = graph.sizes[1]  # the numbers of an example that are 1, or equal, would be taken for constants
    examples = graph.examples(count, sides)
    with torch.no_grad():
        module = fold(graph.module, examples, half)
        if uint8:
            pictures_in = isinstance(graph.inputs["input"], PictureForm)
            module, examples = _AsLevels(module, pictures_in).eval(), _levels_in(graph, examples)
        axes = tuple(_axes(form, uint8) for form in graph.inputs.values()) if free else None
        program = torch.export.export(module, examples, dynamic_shapes=axes, strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # with the paths of this machine
    return program


def _levels_in(graph: Graph, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Inputs whose pictures are grey levels."""
    pictures = [isinstance(form, PictureForm) for form in graph.inputs.values()]
    return tuple(
        to_levels(x).permute(0, 2, 3, 1).contiguous() if is_picture else x
        for x, is_picture in zip(inputs, pictures, strict=True)
    )


def _simplify(model: Any) -> None:
    """Compute what is constant, and change nothing else.

    The optimizer that torch calls by itself takes constants that differ from 0 by up to 1e-8, or from 1 by 1e-5, for 0
    and 1: pixel norm would lose its epsilon, and a picture of zeros become NaN. Runtimes have optimizers of their own.

    Args:
        model: ``onnx_ir.Model``, changed in place.
    """
    from onnx_ir.passes import common
    from onnxscript import optimizer

    optimizer.fold_constants(model)
    for clean in (
        common.RemoveUnusedNodesPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
    ):
        clean(model)


def _free_axes(proto: Any, graph: Graph, uint8: bool) -> None:
    """Give the batch and the sides of pictures names in place of sizes."""
    del proto.graph.value_info[:]
    for value, form in zip(
        (*proto.graph.input, *proto.graph.output), (*graph.inputs.values(), graph.output), strict=True
    ):
        dims = value.type.tensor_type.shape.dim
        dims[0].dim_param = "batch"
        if isinstance(form, PictureForm) and form.multiple is not None:
            first, step = (1 if uint8 else 2), form.multiple
            for axis, name in ((first, "height"), (first + 1, "width")):
                dims[axis].dim_param = name if step == 1 else f"{step}*{name}_{step}"


def _axes(form: Form, uint8: bool) -> dict[int, Any]:
    axes: dict[int, Any] = {0: Dim("batch", min=1)}
    if isinstance(form, PictureForm) and form.multiple is not None:
        first, step = (1 if uint8 else 2), form.multiple
        for axis, name in ((first, "height"), (first + 1, "width")):
            least = max(1, -(-form.least // step))
            axes[axis] = Dim(name, min=least) if step == 1 else step * Dim(f"{name}_{step}", min=least)
    return axes


@torch.no_grad()
def _differences(graph: Graph, product: _Product, uint8: bool) -> list[dict[str, Any]]:
    """How far a file is from the model at three sizes, of numbers in [-1, 1], or in grey levels."""
    found = []
    for count, sides in graph.sizes:
        inputs = graph.examples(count, sides)
        if uint8:
            levels = _levels_in(graph, inputs)
            pictures = [isinstance(form, PictureForm) for form in graph.inputs.values()]
            inputs = tuple(
                from_levels(x.permute(0, 3, 1, 2)) if is_picture else x
                for x, is_picture in zip(levels, pictures, strict=True)
            )
            expected = to_levels(graph.reference(*inputs)).permute(0, 2, 3, 1).float()
            got = product(*levels).float()
        else:
            expected, got = graph.reference(*inputs), product(*inputs)
        if got.shape != expected.shape:
            raise UserError(
                f"{graph.name}: what comes out has the shape {list(got.shape)}, not {list(expected.shape)}."
            )
        height, width = expected.shape[1:3] if uint8 else expected.shape[2:]
        apart = (got - expected).abs()
        difference = float(apart.max()) if bool(got.isfinite().all()) else float("inf")
        size = {"batch": count, "height": int(height), "width": int(width), "difference": difference}
        found.append({**size, "differing": float((apart > 0).float().mean())} if uint8 else size)
    return found


def _fault(size: Mapping[str, Any], uint8: bool, half: bool) -> str:
    """What is wrong with a file at a size; "" if nothing is."""
    difference = size["difference"]
    if difference == float("inf"):
        return "would give numbers that are not finite"
    if half:
        return ""
    if uint8:
        wrong = difference > 1 or size["differing"] > DIFFERING
        return f"would differ from the model by up to {difference:g} grey levels" if wrong else ""
    return (
        f"would differ from the model by {difference:.2g}, more than {TOLERANCE:g}," if difference > TOLERANCE else ""
    )


def _check(path: Path, measured: Sequence[Mapping[str, Any]], uint8: bool, half: bool) -> None:
    for size in measured:
        if fault := _fault(size, uint8, half):
            where = f"at {size['batch']} x {size['height']} x {size['width']}"
            raise UserError(f"{path} {fault} {where}; nothing was written.")


def _check_uint8(graph: Graph) -> None:
    """Grey levels of 8 bits must be all that there is of pictures."""
    for form in (*graph.inputs.values(), graph.output):
        if isinstance(form, PictureForm) and not form.levels.plain:
            raise UserError(
                f"{graph.name}: pictures of {form.domain} have {form.levels.words}, which uint8 cannot hold; export "
                "without --uint8, and use the window in the metadata."
            )


@contextmanager
def _quietly(path: Path) -> Iterator[None]:
    """Keep torch's exporter from printing, and turn what it raises into a sentence."""
    loggers = [logging.getLogger(name) for name in ("torch", "torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (UserError, KeyboardInterrupt, MemoryError):
        raise
    except Exception as error:  # exporters raise nearly anything for a network that they cannot follow
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: this network cannot be written in this format ({reason}).") from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


# --- metadata -------------------------------------------------------------------------------------------------------


def _about_run(model: SnapshotModel) -> dict[str, Any]:
    """Where a file comes from."""
    config = model.config
    return {
        "progcycle_version": __version__,
        "task": config.task,
        "nimg": config.nimg,
        "recipe_sha256": config.recipe_sha256,
        "trained_on": folders(config.recipe),
    }


def _about(graph: Graph, uint8: bool, half: bool) -> dict[str, Any]:
    """What a file computes."""
    growth = graph.growth
    inputs = {name: _form(form, uint8) for name, form in graph.inputs.items()}
    return {
        "name": graph.name,
        "stage": growth.stage,
        "alpha": growth.progress,
        "resolution": Resolution.of(growth.resolution).plain,
        "precision": "float16" if half else "float32",
        "inputs": inputs,
        "outputs": {"output": _form(graph.output, uint8)},
    }


def _form(form: Form, uint8: bool) -> dict[str, Any]:
    if isinstance(form, LabelForm):
        return {"kind": "labels", "dtype": "int64", "shape": ["N"], "classes": list(form.classes)}
    if isinstance(form, LatentForm):
        parts = [{"size": size, "distribution": kind} for size, kind in form.parts]
        kept = [] if form.real is None else form.real.tolist()
        real = {"real": [[round(number, 4) for number in row] for row in kept]} if kept else {}
        return {"kind": "latents", "dtype": "float32", "shape": ["N", form.size], "parts": parts, **real}
    half_range = max_level() / 2
    free = {} if form.multiple is None else {"multiple_of": form.multiple, "smallest": form.least}
    height, width = form.sides if form.multiple is None else ("H", "W")
    channels = form.channels
    numbers = {
        "range": [-1, 1],
        "normalization": {"mean": half_range, "std": half_range, "formula": "(level - mean) / std"},
    }
    window = [form.levels.low, form.levels.high]
    if not form.levels.plain:
        middle, spread = sum(window) / 2, (window[1] - window[0]) / 2
        numbers["normalization"] = {"mean": middle, "std": spread, "formula": "(value - mean) / std"}
    return {
        "kind": "pictures",
        "domain": form.domain,
        "dtype": "uint8" if uint8 else "float32",
        "layout": "NHWC" if uint8 else "NCHW",
        "shape": ["N", height, width, channels] if uint8 else ["N", channels, height, width],
        **({"range": [0, max_level()]} if uint8 else numbers),
        "bits": form.levels.bits,
        "window": window,
        "background": form.background,
        "trained_at": list(form.sides),
        **free,
    }
