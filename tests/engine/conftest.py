"""Fixtures for the tests of ``progcycle.engine``."""

from run_fixtures import one_thread, plots, real_plots

__all__ = ["one_thread", "plots", "real_plots"]
