"""Time and memory of the sliced Wasserstein distance, on pictures that cost nothing.

python benchmarks/swd.py                                          # 2 x 2,048 pictures of 64 px
python benchmarks/swd.py --pictures 16384 --resolution 1024       # the full protocol: hours on a CPU
python benchmarks/swd.py --pictures 256 --patches 8192 --resolution 1024   # as many patches of fewer pictures
"""

import argparse
import resource
import sys
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from progcycle.metrics import sliced_wasserstein
from progcycle.metrics.sliced_wasserstein import memory_plan


def shifted_noise(count: int, resolution: int, seed: int, batch: int = 16) -> Callable[[], Iterator[Tensor]]:
    """Pictures that are one picture of noise, moved: made on the fly, never kept."""
    noise = torch.randint(0, 256, (3, resolution, resolution), generator=torch.Generator().manual_seed(seed))
    noise = noise.to(torch.uint8)

    def batches() -> Iterator[Tensor]:
        for first in range(0, count, batch):
            places = range(first, min(first + batch, count))
            yield torch.stack([noise.roll((7 * i, 11 * i), dims=(1, 2)) for i in places])

    return batches


def main() -> None:
    """Measure, and print one line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--pictures", type=int, default=2048, help="of each set (2048)")
    p.add_argument("--resolution", type=int, default=64, help="pixels of a side (64)")
    p.add_argument("--patches", type=int, default=128, help="of a picture and level (128)")
    p.add_argument("--memory", type=float, default=4.0, help="GB (4)")
    p.add_argument("--device", default="cpu")
    p.add_argument("--threads", type=int, help="of torch and of sorting")
    args = p.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    sets = [shifted_noise(args.pictures, args.resolution, seed) for seed in (0, 1)]
    passes, block = memory_plan(args.resolution, args.pictures * args.patches, args.memory, args.device)
    wall, cpu = time.perf_counter(), time.process_time()
    (found,) = sliced_wasserstein(
        sets[0],
        sets[1:],
        count=args.pictures,
        resolution=args.resolution,
        patches=args.patches,
        memory_gb=args.memory,
        device=args.device,
        progress=True,
    )
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
    rows = args.pictures * args.patches
    print(f"{args.pictures} pictures of {args.resolution} px, {rows} patches of a level, in {len(passes)} passes,")
    print(f"{block} directions at a time: {wall:.1f} s, {cpu:.1f} s of CPU, peak {peak:.2f} GB of memory")
    print({side: round(value, 3) for side, value in found.items()})


if __name__ == "__main__":
    main()
