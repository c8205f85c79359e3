"""Special functions: Bessel, error and gamma functions."""
