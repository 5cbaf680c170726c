"""Fixtures for the tests of ``progcycle.runtime``."""

from run_fixtures import no_plots, one_thread, pictures, real_plots

__all__ = ["no_plots", "one_thread", "pictures", "real_plots"]
