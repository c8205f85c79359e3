"""Normalizations: layer, RMS, group and instance norm."""
