"""Figures of trained models: generated pictures against real ones, translations against their truth."""

from progcycle.evaluation.generator_metrics import evaluator
from progcycle.evaluation.result import Evaluation
from progcycle.evaluation.trained import evaluate

__all__ = ["Evaluation", "evaluate", "evaluator"]
