"""Rewrites of constant operands: weights and what is computed with them."""
