"""Attention, its masks and layouts, and rotary embedding."""
