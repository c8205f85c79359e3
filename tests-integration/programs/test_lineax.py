"""Linear systems solved by lineax: direct, iterative, structured and least squares."""

import jax
import jax.numpy as jnp
import pytest

from j2o_core.testing import check

lineax = pytest.importorskip("lineax")

pytestmark = pytest.mark.filterwarnings("ignore:The run-time check")


def well_conditioned(a: jax.Array) -> jax.Array:
    return a + 4 * jnp.eye(a.shape[-1])


@pytest.mark.parametrize(
    "solver",
    [lineax.LU(), lineax.QR(), lineax.SVD(), lineax.AutoLinearSolver(well_posed=True)],
    ids=lambda s: type(s).__name__,
)
def test_direct_solvers(solver: object) -> None:
    def solve(a: jax.Array, b: jax.Array) -> jax.Array:
        return lineax.linear_solve(lineax.MatrixLinearOperator(well_conditioned(a)), b, solver).value

    check(solve, (4, 4), (4,), opsets=(21,))


def test_cholesky_of_a_positive_definite_operator() -> None:
    def solve(a: jax.Array, b: jax.Array) -> jax.Array:
        operator = lineax.MatrixLinearOperator(a @ a.T + jnp.eye(4), lineax.positive_semidefinite_tag)
        return lineax.linear_solve(operator, b, lineax.Cholesky()).value

    check(solve, (4, 4), (4,), opsets=(21,))


@pytest.mark.parametrize(
    "solver",
    [lineax.CG(rtol=1e-6, atol=1e-6), lineax.GMRES(rtol=1e-6, atol=1e-6), lineax.BiCGStab(rtol=1e-6, atol=1e-6)],
    ids=lambda s: type(s).__name__,
)
def test_iterative_solvers(solver: object) -> None:
    def solve(a: jax.Array, b: jax.Array) -> jax.Array:
        operator = lineax.MatrixLinearOperator(a @ a.T + 4 * jnp.eye(4), lineax.positive_semidefinite_tag)
        return lineax.linear_solve(operator, b, solver).value

    check(solve, (4, 4), (4,), opsets=(21,))


def test_structured_operators() -> None:
    def solve(diagonal: jax.Array, off: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
        diagonal = 3 + jnp.abs(diagonal)
        tridiagonal = lineax.TridiagonalLinearOperator(diagonal, jnp.tanh(off), jnp.sin(off))
        return (
            lineax.linear_solve(lineax.DiagonalLinearOperator(diagonal), b).value,
            lineax.linear_solve(tridiagonal, b).value,
        )

    check(solve, (5,), (4,), (5,), opsets=(21,))


def test_least_squares_and_the_gradient_through_it() -> None:
    def solve(a: jax.Array, b: jax.Array) -> jax.Array:
        return lineax.linear_solve(lineax.MatrixLinearOperator(a), b, lineax.AutoLinearSolver(well_posed=None)).value

    check(solve, (6, 3), (6,), opsets=(21,))
    # Gradients go through the pseudo-inverse twice: errors grow with the square of the condition number.
    check(jax.grad(lambda a, b: jnp.sum(solve(a, b) ** 2)), (6, 3), (6,), opsets=(21,), rtol=1e-3, atol=1e-4)


def test_a_jacobian_as_operator_on_a_batch() -> None:
    def solve(y: jax.Array, b: jax.Array) -> jax.Array:
        operator = lineax.JacobianLinearOperator(lambda y, args: 4 * y + jnp.sin(jnp.roll(y, 1)), y)
        return lineax.linear_solve(operator, b, lineax.LU()).value

    check(jax.vmap(solve), ("B", 3), ("B", 3), opsets=(21,))
