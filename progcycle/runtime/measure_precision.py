"""Whether bfloat16 is faster than float32 on this device, measured in convolutions: forward and backward passes."""

import functools
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor
from torch.nn import functional

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}
LAYOUTS = {"channels_first": torch.contiguous_format, "channels_last": torch.channels_last}
TRAINED = "channels_last"  # the layout of training
GAIN = 1.05  # bf16 must be so much faster than float32 to be chosen
CLEAR = 1.25  # a factor that a few rounds settle
FEW, MANY = 3, 10  # rounds
SECONDS = 0.6  # after which no further round begins
LARGEST = {"cpu": 0.5e9, "cuda": 30e9}  # operations of a convolution that is timed
CHANNELS = 4  # widths are multiples of it; others are those of pictures, or have a statistic of the batch as well

Trial = Callable[[], float]


@dataclass(frozen=True)
class Convolution:
    """A convolution of square pictures with stride 1, which leaves their size.

    Attributes:
        in_channels, out_channels: its widths.
        kernel: pixels of its kernel's side.
        side: pixels of a side of its pictures.
        batch_size: pictures at a time.
    """

    in_channels: int
    out_channels: int
    kernel: int = 3
    side: int = 16
    batch_size: int = 8

    @property
    def flops(self) -> int:
        """Operations of the forward and the backward pass: three products, each an addition and a multiplication."""
        return 6 * self.batch_size * self.in_channels * self.out_channels * (self.kernel * self.side) ** 2

    def reduced(self, largest: float) -> "Convolution":
        """The same with fewer or smaller pictures, so that it has at most so many operations, where that is possible.

        Args:
            largest: operations.
        """
        batch, side = self.batch_size, self.side
        fitting = self
        while fitting.flops > largest and (batch > 1 or side > self.kernel):
            batch, side = (batch // 2, side) if batch > 1 else (1, max(side // 2, self.kernel))
            fitting = Convolution(self.in_channels, self.out_channels, self.kernel, side, batch)
        return fitting


USUAL = (Convolution(256, 256), Convolution(64, 64))


@dataclass(frozen=True)
class PrecisionFigures:
    """What a measurement found.

    Attributes:
        times: of each convolution, seconds of a forward and a backward pass by format and layout, such as
            ``("bf16", "channels_last")``; on a CPU these are seconds of processor time.
    """

    times: Mapping[Convolution, Mapping[tuple[str, str], float]]

    @property
    def ratio(self) -> float:
        """Time of bf16 as a multiple of float32's, in the layout of training: a geometric mean of the convolutions."""
        logs = [math.log(each["bf16", TRAINED] / each["float32", TRAINED]) for each in self.times.values()]
        return math.exp(sum(logs) / len(logs))

    @property
    def faster(self) -> bool:
        """Whether bf16 is clearly faster."""
        return self.ratio * GAIN < 1

    def __str__(self) -> str:
        """The comparison in words."""
        widths = " and ".join(dict.fromkeys(str(max(c.in_channels, c.out_channels)) for c in self.times))
        ratio = self.ratio
        if ratio < 1:
            found = f"bf16 is {1 / ratio:.2f} times as fast as float32"
        else:
            found = f"bf16 takes {ratio:.2f} times as long as float32"
        return f"measured here: {found} in convolutions of {widths} channels"

    def record(self) -> dict[str, Any]:
        """The figures for a JSON file: the ratio, and each convolution with its milliseconds by format and layout."""
        rows = [
            {**asdict(c), "ms": {f"{form} {layout}": round(1000 * s, 4) for (form, layout), s in times.items()}}
            for c, times in self.times.items()
        ]
        return {"bf16_to_float32": round(self.ratio, 4), "convolutions": rows}


def convolutions_of(shapes: Iterable[Sequence[int]], side: int, batch_size: int) -> tuple[Convolution, ...]:
    """The widest convolution of some networks, and a typical one, at which half of the others are not wider.

    Args:
        shapes: of the networks' weights; those of convolutions have four numbers.
        side: pixels of a side that they are to be measured at.
        batch_size: pictures at a time.

    Returns:
        Two convolutions; one where both are the same; none where no layer has multiples of four channels and a kernel
        of several pixels.
    """
    wide = [
        s for s in map(tuple, shapes) if len(s) == 4 and s[2] == s[3] > 1 and s[0] % CHANNELS == 0 == s[1] % CHANNELS
    ]
    if not wide:
        return ()
    wide.sort(key=lambda shape: (shape[0] * shape[1], shape))
    # An even kernel belongs to a stride, or makes a number of a whole picture; an odd one leaves the size of pictures.
    found = (Convolution(s[1], s[0], s[2] - 1 + s[2] % 2, side, batch_size) for s in (wide[-1], wide[len(wide) // 2]))
    return tuple(dict.fromkeys(found))


def measure_precision(
    device: torch.device, convolutions: Sequence[Convolution] = USUAL, seconds: float = SECONDS
) -> PrecisionFigures | None:
    """Time convolutions in float32 and bf16, in both layouts, in turn; less than a second in all.

    A measurement in this process is remembered. On a CPU it takes one thread, because several that share busy cores
    wait for each other, now and then for longer than they compute. No random stream of torch is touched.

    Args:
        device: of the training; CPU or CUDA.
        convolutions: what to time; larger ones are reduced.
        seconds: after which no further round begins.

    Returns:
        What was found; None where nothing could be measured: no convolutions, another device, no bf16, too slow.
    """
    if not convolutions or device.type not in LARGEST:
        return None
    # Not by torch.set_num_threads, which also changes how MKL chooses its threads from then on.
    with threadpool_limits(1, "openmp") if device.type == "cpu" else nullcontext():
        return _measured(device, tuple(convolutions), seconds)


@functools.lru_cache(maxsize=16)
def _measured(device: torch.device, convolutions: tuple[Convolution, ...], seconds: float) -> PrecisionFigures | None:
    fitting = tuple(dict.fromkeys(each.reduced(LARGEST[device.type]) for each in convolutions))
    ways = list(product(fitting, DTYPES, LAYOUTS))
    try:
        _trial(device, Convolution(CHANNELS, CHANNELS, side=4), *ways[0][1:])()  # loads what training needs too
        deadline = time.perf_counter() + seconds
        trials = {way: _trial(device, *way) for way in ways}
        for trial in trials.values():
            trial()  # compiles the kernels
            if time.perf_counter() > deadline + seconds:
                return None
        best: dict[tuple[Convolution, str, str], float] = {}
        for done in range(MANY):
            for way, trial in trials.items():
                best[way] = min(trial(), best.get(way, math.inf))
            found = PrecisionFigures({c: {way[1:]: best[way] for way in ways if way[0] == c} for c in fitting})
            if time.perf_counter() > deadline or (done + 1 >= FEW and not 1 / CLEAR < found.ratio < CLEAR):
                break
    except (RuntimeError, NotImplementedError):  # no kernel for it
        return None
    return found if min(best.values()) > 0 else None


def _trial(device: torch.device, convolution: Convolution, form: str, layout: str) -> Trial:
    """What times a forward and a backward pass, as autocast does them: weights in float32, pictures in the format."""
    stream = torch.Generator(device=device).manual_seed(0)
    c, dtype, memory_format = convolution, DTYPES[form], LAYOUTS[layout]

    def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        values = torch.randn(shape, generator=stream, device=device).to(dtype)
        return values.contiguous(memory_format=memory_format)

    weight = drawn(c.out_channels, c.in_channels, c.kernel, c.kernel).requires_grad_()
    pictures = drawn(c.batch_size, c.in_channels, c.side, c.side, dtype=dtype).requires_grad_()
    gradient = drawn(c.batch_size, c.out_channels, c.side, c.side, dtype=dtype)
    clock = device_clock(device)

    def trial() -> float:
        began = clock()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=form == "bf16"):
            output = functional.leaky_relu(functional.conv2d(pictures, weight, padding=c.kernel // 2), 0.2)
        torch.autograd.grad(output, (pictures, weight), gradient)
        return clock() - began

    return trial


def device_clock(device: torch.device) -> Callable[[], float]:
    """Seconds: of the device, and on a CPU of this process alone, which other programs do not stretch."""
    if device.type == "cuda":

        def now() -> float:
            torch.cuda.synchronize(device)
            return time.perf_counter()

        return now
    fine = time.get_clock_info("process_time").resolution < 1e-4  # Windows counts in 16 ms
    return time.process_time if fine else time.perf_counter
