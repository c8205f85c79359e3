"""The one tree of errors, by stage, and warnings at the line that called j2o.

Each message says what was given, where, what was expected and what to do.
"""

import os
import sys
import warnings
from types import FrameType
from typing import Any

PAGE = "docs/errors.md"
_OWN_FOLDER = os.path.dirname(__file__) + os.sep


class J2oError(Exception):
    """Root of everything that j2o raises on purpose. A traceback ends with the page on errors of its kind."""

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.add_note(f"See {self.page}.")

    @property
    def page(self) -> str:
        """The place in the documentation that is about this class."""
        return f"{PAGE}#{type(self).__name__.lower()}"


class PluginError(J2oError):
    """A plugin cannot be loaded, clashes with another one, or registers something that cannot work."""


class SpecError(J2oError, ValueError):
    """An argument of `to_onnx` (spec, name, opset, target) cannot be used as given."""


class TraceError(J2oError):
    """The function could not be traced to a jaxpr, or returned something that is not an array."""


class UnsupportedError(J2oError):
    """The program uses primitives that have no lowering at this opset; all of them are listed."""


class LoweringError(J2oError):
    """A lowering rule raised, or returned what the equation's avals do not say."""


class UnknownParameter(LoweringError):
    """An equation has a parameter that its rule neither reads nor ignores."""


class RewriteError(J2oError):
    """A rewrite raised, or replaced a value with one of another dtype or shape."""


class LegalizeError(J2oError):
    """The target runtime has no kernel for a node, and no exact detour is known."""


class CheckError(J2oError):
    """The finished model is not valid ONNX."""


class RunError(J2oError):
    """ONNX Runtime is missing, refuses the model, or fails while it runs."""


class VerifyError(J2oError):
    """ONNX Runtime disagrees with JAX."""


class SaveError(J2oError, OSError):
    """The model could not be written; whatever was at the path before is still there."""


def warn(message: str) -> None:
    """A UserWarning at the line of the outermost call of j2o, whatever JAX, j2o and plugins call inside."""
    frame: FrameType | None = sys._getframe()
    level = outermost = 1
    while frame is not None:
        if frame.f_code.co_filename.startswith(_OWN_FOLDER):
            outermost = level
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=outermost + 1)
