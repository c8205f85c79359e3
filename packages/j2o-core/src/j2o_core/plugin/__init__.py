"""Plugins: rules, composites and rewrites of one package, and the registry of all that are installed."""
