"""Activations written with elementwise operators."""
