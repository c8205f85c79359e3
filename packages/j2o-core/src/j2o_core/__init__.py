"""j2o: JAX programs to ONNX, exactly. This is the list of public names.

They are loaded on first use: `import j2o_core` itself imports neither JAX nor ONNX.
"""

import importlib
from typing import TYPE_CHECKING, Any

from . import _lazy_sympy

if TYPE_CHECKING:
    from ._errors import CheckError as CheckError
    from ._errors import J2oError as J2oError
    from ._errors import LegalizeError as LegalizeError
    from ._errors import LoweringError as LoweringError
    from ._errors import PluginError as PluginError
    from ._errors import RewriteError as RewriteError
    from ._errors import RunError as RunError
    from ._errors import SaveError as SaveError
    from ._errors import SpecError as SpecError
    from ._errors import TraceError as TraceError
    from ._errors import UnsupportedError as UnsupportedError
    from ._errors import VerifyError as VerifyError
    from ._export import to_onnx as to_onnx
    from .graph import traits as traits
    from .lower._context import LoweringContext as LoweringContext
    from .plugin._composite import Composite as Composite
    from .plugin._plugin import Plugin as Plugin
    from .plugin._registry import Registry as Registry
    from .program._profile import Profile as Profile
    from .program._program import OnnxProgram as OnnxProgram
    from .program._read_weights import read_safetensors as read_safetensors
    from .program._verify import Verification as Verification
    from .rewrite import Rewriter as Rewriter
    from .trace._functions import function as function

_HOME = {
    "Composite": "plugin._composite",
    "LoweringContext": "lower._context",
    "OnnxProgram": "program._program",
    "Plugin": "plugin._plugin",
    "Profile": "program._profile",
    "Registry": "plugin._registry",
    "Rewriter": "rewrite",
    "Verification": "program._verify",
    "function": "trace._functions",
    "read_safetensors": "program._read_weights",
    "to_onnx": "_export",
    "traits": "graph",
    **dict.fromkeys(
        (
            "CheckError",
            "J2oError",
            "LegalizeError",
            "LoweringError",
            "PluginError",
            "RewriteError",
            "RunError",
            "SaveError",
            "SpecError",
            "TraceError",
            "UnsupportedError",
            "VerifyError",
        ),
        "_errors",
    ),
}
__all__ = sorted(_HOME)

_lazy_sympy.install()


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
