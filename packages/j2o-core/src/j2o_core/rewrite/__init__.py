"""Rewrite: fusions and clean-ups, each a small rule anchored at an operator, run to a fixed point."""

# ruff: noqa: I001  (rules for the same operator are tried in the order of these lines)

from . import _means as _means
from . import _layouts as _layouts
from . import _slices as _slices
from . import _masks as _masks
from . import _writes as _writes
from . import _broadcasts as _broadcasts
from . import _bounds as _bounds
from ._driver import rewrite
from ._rewriter import Rewriter

__all__ = ["Rewriter", "rewrite"]
