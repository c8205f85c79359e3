import jax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from j2o_core.graph._sizes import dimension_text, evaluate_dimension, may_be_zero

EXPRESSIONS = [
    "B",
    "2*B + 3",
    "B*T - T",
    "B^2*T - 4",
    "floordiv(B - 7, 2)",
    "mod(T + B, 3)",
    "3*floordiv(T, 2)*B + mod(B, T + 1)",
    "max(B, T) - min(B - T, 4)",
    "-B + T + 5",
]


def dimension(text):
    (size,) = jax.export.symbolic_shape(text, constraints=["B >= 1", "T >= 1"])
    return size


@pytest.mark.parametrize("text", EXPRESSIONS)
@settings(max_examples=20, deadline=None)
@given(sizes=st.tuples(st.integers(1, 50), st.integers(1, 50)))
def test_the_text_says_the_number(text, sizes):
    """In Python's notation, which is that of ONNX."""
    names = dict(zip("BT", sizes, strict=True))
    size = dimension(text)
    assert eval(dimension_text(size), {"max": max, "min": min}, names) == evaluate_dimension(size, names)


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_the_number_is_that_of_jax(text):
    python = text.replace("^", "**").replace("floordiv", "div").replace("mod", "rest")
    functions = {"max": max, "min": min, "div": lambda a, b: a // b, "rest": lambda a, b: a % b}
    for b, t in ((1, 1), (2, 7), (9, 4)):
        assert evaluate_dimension(dimension(text), {"B": b, "T": t}) == eval(python, functions, {"B": b, "T": t})


def test_numbers_and_text_stay():
    assert evaluate_dimension(4, {}) == 4
    assert dimension_text("N") == "N"


@pytest.mark.parametrize(
    ("text", "constraints", "expected"),
    [
        ("N", (), False),
        ("N", ["N >= 0"], True),
        ("N", ["N >= 2"], False),
        ("N - 1", (), True),
        ("N - 1", ["N >= 2"], False),
    ],
)
def test_sizes_that_may_be_zero(text, constraints, expected):
    (size,) = jax.export.symbolic_shape(text, constraints=constraints)
    assert may_be_zero(size) is expected
    assert may_be_zero(0)
    assert not may_be_zero(1)
