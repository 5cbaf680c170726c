"""How long exported files take on this machine, beside the model itself: ``python benchmarks/exported.py RUN``.

Every file is run alone, with the threads of the environment; the best of some repeats is shown.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from progcycle.export import export_model, load

REPEATS = 20


def best_ms(call: Callable[[], object]) -> float:
    """Milliseconds of the fastest call, after one to warm up."""
    call()
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return 1000 * min(times)


@torch.no_grad()
def main() -> None:
    """Export a run in all ways, and print a table."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("run", type=Path)
    p.add_argument("--direction", choices=("ab", "ba"))
    args = p.parse_args()
    import onnxruntime

    model = load(args.run)
    direction = args.direction or ("ab" if model.command == "translate" else None)
    (graph,) = model.graphs(direction)
    inputs = graph.examples(1, graph.output.sides)
    fed = {name: x.numpy() for name, x in zip(graph.inputs, inputs, strict=True)}
    print(f"{args.run}, {graph.name} at {graph.output.sides}, {torch.get_num_threads()} threads")
    print(f"{'model':>12} {'':>9} {best_ms(lambda: graph.reference(*inputs)):8.1f} ms")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        for half in (False, True):
            for kind in ("onnx", "pt2"):
                (file,) = export_model(model, folder, kind, direction=direction, half=half)
                size = f"{file.path.stat().st_size / 1e6:.2f} MB"
                if kind == "pt2":
                    program = torch.export.load(file.path).module()
                    spent = best_ms(lambda program=program: program(*inputs))
                else:
                    session = onnxruntime.InferenceSession(file.path, options, providers=["CPUExecutionProvider"])
                    spent = best_ms(lambda session=session: session.run(["output"], fed))
                name = "fp16 " * half + kind
                print(f"{name:>12} {size:>9} {spent:8.1f} ms   off by {file.difference:.2g}")


if __name__ == "__main__":
    main()
