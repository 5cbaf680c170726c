#!/bin/sh
# Everything about one GPU in ten minutes: correctness, speed, memory. Without a GPU, the same in small on the CPU.
#   benchmarks/gpu.sh            a table last
#   PYTHON=.venv/bin/python benchmarks/gpu.sh --seconds 300 --out gpu.json
cd "$(dirname "$0")/.." || exit 2
# Before CUDA starts: the part about resuming asks for deterministic algorithms.
export CUBLAS_WORKSPACE_CONFIG="${CUBLAS_WORKSPACE_CONFIG:-:4096:8}"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python}" benchmarks/gpu.py "$@"
