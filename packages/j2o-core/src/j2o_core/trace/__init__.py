"""Trace: a function and its input specs become a jaxpr with named constants."""
