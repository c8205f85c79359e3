"""Warnings at the line that called j2o."""

import os
import sys
import warnings
from types import FrameType

_OWN_FOLDER = os.path.dirname(__file__) + os.sep


def warn(message: str) -> None:
    """A UserWarning at the line of the outermost call of j2o, whatever JAX, j2o and plugins call inside."""
    frame: FrameType | None = sys._getframe()
    level = outermost = 1
    while frame is not None:
        if frame.f_code.co_filename.startswith(_OWN_FOLDER):
            outermost = level
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=outermost + 1)
