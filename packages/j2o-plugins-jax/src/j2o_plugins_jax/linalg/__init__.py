"""Linear algebra: factorizations, eigenvalues and solvers in JAX code."""
