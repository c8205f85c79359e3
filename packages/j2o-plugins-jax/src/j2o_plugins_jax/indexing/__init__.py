"""Slices, gather and scatter at static and run-time indices."""
