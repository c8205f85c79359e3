"""Why a few harnesses of JAX's primitives do not give JAX's values.

`support_table.py` puts the reason beside each case that does not pass, and fails where there is none.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


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
        "svd",
        "differs",
        ("jvp",),
        ("float32",),
        "Two singular values of 25.4 lie 0.04 apart: JAX's own tangents move by up to 4e-4 where the last bits of its "
        "input change, and the graph's are 5e-4 from them.",
    ),
    Reason(
        "top_k",
        "differs",
        ("jvp",),
        ("float32",),
        "XLA orders NaN by its sign, which no arithmetic tells below opset 26: each NaN is as if positive.",
    ),
    Reason(
        "cholesky",
        "differs",
        ("grad", "vmapgrad"),
        ("bfloat16",),
        "A matrix of condition 270,000: the last bits of its elements move the gradient by 1.2e-4. The graph's is up "
        "to 8e-4 from that in float64, JAX's up to 1.4e-4.",
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
