"""Sets of pictures in, numbers out; knows nothing of training."""

from progcycle.metrics.paired import PairedScores, join, paired_scores

__all__ = ["PairedScores", "join", "paired_scores"]
