"""Targets: where a program is to run, what runs there, and what has to be worked around there.

_target        a runtime at a release, or standard ONNX: the one question `runs(op_type, dtype)`
_kernels       the generated tables of what runs, one for each release
_dtypes        families of element types
_workaround    what is known of a fault of a runtime
_workarounds   the table of all of them
"""

from ._dtypes import FLOAT8, FLOATS, INTEGERS, NARROW_FLOATS, SIGNED, UNSIGNED, bits, cast_attributes
from ._kernels import Signature, Types, opsets
from ._target import RUNTIME, Target, target_names
from ._workaround import Witness, Workaround
from ._workarounds import WORKAROUNDS

__all__ = [
    "FLOAT8",
    "FLOATS",
    "INTEGERS",
    "NARROW_FLOATS",
    "RUNTIME",
    "SIGNED",
    "UNSIGNED",
    "WORKAROUNDS",
    "Signature",
    "Target",
    "Types",
    "Witness",
    "Workaround",
    "bits",
    "cast_attributes",
    "opsets",
    "target_names",
]
