"""Figures of trained models: generated pictures against real ones, translations against their truth."""

from progcycle.evaluation.generator_metrics import evaluator

__all__ = ["evaluator"]
