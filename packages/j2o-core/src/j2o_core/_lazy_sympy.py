"""`import onnx_ir` without SymPy, which takes most of its time and is needed only to compute with symbolic dimensions.

onnx_ir imports SymPy for the arithmetic of `SymbolicDim`. An export does not use it: symbolic sizes are JAX's. A
stand-in takes its place while onnx_ir is imported, and loads it when somebody first computes with a `SymbolicDim`.
Nothing changes if onnx_ir or SymPy is imported already, and `import sympy` gives the module itself at any time.

onnx_ir 1.1 still needs it: `onnx_ir/_core.py` and `onnx_ir/_symbolic_shapes.py` begin with `import sympy`, and
`import onnx_ir` takes 0.44 s of CPU with SymPy and 0.08 without, of 0.17 for a whole first export. Only the arithmetic
and the parser of `SymbolicDim` use it. Once onnx_ir imports SymPy inside of these functions, this file has no use.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Sequence
from typing import Any

# SymPy, and the module of onnx_ir that looks into it while it is imported.
_MODULES = ("sympy", "onnx_ir._symbolic_shapes")


class _StandIn(types.ModuleType):
    """A module that is imported when one of its attributes is asked for."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


class _Loader(importlib.abc.Loader):
    """Executes onnx_ir with stand-ins for `_MODULES`."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        assert module.__spec__ is not None
        module.__loader__ = module.__spec__.loader = self._loader
        stand_ins = {name: _StandIn(name) for name in _MODULES if name not in sys.modules}
        sys.modules.update(stand_ins)
        try:
            self._loader.exec_module(module)
        finally:
            for name, stand_in in stand_ins.items():
                if sys.modules.get(name) is stand_in:
                    del sys.modules[name]


class _Finder(importlib.abc.MetaPathFinder):
    """Finds onnx_ir, once, as the other finders do, and has it executed by `_Loader`."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "onnx_ir":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


def install() -> None:
    """Have the next `import onnx_ir` of this process leave SymPy out."""
    if "onnx_ir" not in sys.modules:
        sys.meta_path.insert(0, _Finder())
