"""Figures of trained models: generated pictures against real ones, translations against their truth."""

from progcycle.evaluation.evaluators import EVALUATORS, evaluator
from progcycle.evaluation.result import Evaluation
from progcycle.evaluation.trained import EVALUATIONS, Measured, evaluate

__all__ = ["EVALUATIONS", "EVALUATORS", "Evaluation", "Measured", "evaluate", "evaluator"]
