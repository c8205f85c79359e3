"""Random bits: the counter-based generators behind `jax.random`, bit for bit."""
