"""Why a few harnesses of JAX's primitives do not give JAX's values.

`support_table.py` puts the reason beside each case that does not pass, and fails where there is none.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

_DERIVATIVES = ("grad", "jvp", "vmapgrad")


@dataclass(frozen=True)
class Reason:
    """A reason for the harnesses of a primitive in some forms and dtypes.

    Attributes:
        group: the primitive, as JAX's harnesses name it.
        outcome: what they do instead, as on the page: `differs`, `refused`.
        forms: by the keys of `primitives_forms.FORMS`.
        dtypes: of the harnesses.
        text: the reason, with the figures that show it.
    """

    group: str
    outcome: str
    forms: tuple[str, ...]
    dtypes: tuple[str, ...]
    text: str


REASONS = (
    Reason(
        "cholesky",
        "differs",
        _DERIVATIVES,
        ("float32",),
        "The matrix of 200 rows has a condition of 1e7: JAX's own derivative moves by 6 to 15% where the last bits of "
        "its input change. The graph's is 0.9% from that in float64, JAX's 3.0%.",
    ),
    *(
        Reason(
            group,
            "differs",
            _DERIVATIVES,
            ("float16",),
            "JAX overflows inside of a chain of float16 operations that ONNX Runtime rounds at its end. The graph "
            "gives the number that float64 gives.",
        )
        for group in ("integer_pow", "pow", "rsqrt")
    ),
    Reason(
        "reduce_window_mul",
        "differs",
        ("jvp",),
        ("bfloat16",),
        "A sum of 6.675 and -6.555 in bfloat16: -0.150 for -0.157, of which JAX gives -0.094.",
    ),
)


def reason_for(form: str, group: str, outcome: str, dtypes: Collection[str]) -> str:
    """The reason for cases of all these dtypes, or ""."""
    for one in REASONS:
        if (one.group, one.outcome) == (group, outcome) and form in one.forms and set(dtypes) <= set(one.dtypes):
            return one.text
    return ""
