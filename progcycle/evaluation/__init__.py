"""Figures of trained models: generated pictures against real ones, translations against their truth."""

from progcycle.evaluation.evaluate_model import EVALUATIONS, TaskEvaluation, evaluate
from progcycle.evaluation.evaluators import EVALUATORS, evaluator
from progcycle.evaluation.result import Evaluation

__all__ = ["EVALUATIONS", "EVALUATORS", "Evaluation", "TaskEvaluation", "evaluate", "evaluator"]
