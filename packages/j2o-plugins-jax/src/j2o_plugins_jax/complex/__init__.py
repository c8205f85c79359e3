"""Complex numbers and Fourier transforms, in JAX code on the real arrays that encode complex ones."""
