"""A training step as one ONNX graph: three small classifiers, AdamW, and a command that trains in both runtimes."""

from ._digits import CLASSES, SIZE, Batch, batches, digits
from ._experiment import Curve, Outcome, Request, Trainer, compare
from ._loop import open_session, run, train
from ._models import MODELS, Block, ViT, cnn, mlp, vit
from ._picture import draw
from ._step import accuracy, initial_state, loss_of, make_step
from ._table import table

__version__ = "0.1.0"

__all__ = [
    "CLASSES",
    "MODELS",
    "SIZE",
    "Batch",
    "Block",
    "Curve",
    "Outcome",
    "Request",
    "Trainer",
    "ViT",
    "accuracy",
    "batches",
    "cnn",
    "compare",
    "digits",
    "draw",
    "initial_state",
    "loss_of",
    "make_step",
    "mlp",
    "open_session",
    "run",
    "table",
    "train",
    "vit",
]
