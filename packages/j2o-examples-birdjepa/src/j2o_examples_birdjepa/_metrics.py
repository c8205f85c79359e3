"""How good predictions are: top-1 accuracy and class-wise mean average precision."""

import numpy as np

from ._config import require


def top1(logits: np.ndarray, target: np.ndarray) -> float:
    """The share of samples whose highest logit `[samples, classes]` is that of their target `[samples]`."""
    return float(np.mean(np.argmax(logits, axis=1) == target))


def average_precision(target: np.ndarray, scores: np.ndarray) -> float:
    """The area under the steps of precision over recall: the sum of (R_n - R_(n-1)) P_n.

    Args:
        target: `[samples]` of 0 and 1, with a 1.
        scores: `[samples]`; samples with equal scores are one step.
    """
    order = np.argsort(-scores, kind="stable")
    target, scores = np.asarray(target, np.float64)[order], scores[order]
    ends = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    hits = np.cumsum(target)[ends]
    precision, recall = hits / (ends + 1), hits / target.sum()
    return float(np.sum(np.diff(recall, prepend=0) * precision))


def cmap(target: np.ndarray, scores: np.ndarray) -> float:
    """The mean of the average precision of all classes that have a positive sample.

    Args:
        target: `[samples, classes]` of 0 and 1.
        scores: `[samples, classes]`.

    Raises:
        ConfigError: If the shapes differ, or no class has a positive sample.
    """
    target, scores = np.asarray(target), np.asarray(scores)
    require(target.shape == scores.shape, f"cmap: targets {target.shape} and scores {scores.shape} differ in shape.")
    classes = np.flatnonzero(target.any(axis=0))
    require(len(classes) > 0, "cmap: no class has a positive sample.")
    return float(np.mean([average_precision(target[:, c], scores[:, c]) for c in classes]))
