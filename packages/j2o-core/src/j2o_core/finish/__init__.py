"""Finish: constants are registered, everything is named, and the graph becomes a model."""
