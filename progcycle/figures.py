"""Matplotlib for files: a figure draws itself with Agg, whatever backend ``MPLBACKEND`` names, there or not.

Matplotlib refuses to be imported where that variable names a backend that it does not know, such as that of a notebook
in an environment without it. A backend that it does know is left chosen for whoever shows figures.
"""

import os
import sys
from contextlib import suppress

_backend = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)
try:
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator
finally:
    if _backend is not None:
        os.environ["MPLBACKEND"] = _backend
if _backend:
    with suppress(ValueError):
        matplotlib.rcParams["backend"] = _backend

# Everything of matplotlib that progcycle uses is imported from here.
__all__ = ["Axes", "Figure", "FixedLocator", "LogLocator", "MaxNLocator", "NullLocator", "matplotlib", "new_figure"]


def new_figure(width: float, height: float) -> Figure:
    """A figure that draws with Agg, and lays itself out.

    Args:
        width, height: inches.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
