"""Weights of other projects: read without executing anything, and written as snapshots of this one."""

from progcycle.importers.kinds import KINDS
from progcycle.importers.snapshot import import_weights
from progcycle.importers.translators import write_pytorch_cyclegan

__all__ = ["KINDS", "import_weights", "write_pytorch_cyclegan"]
