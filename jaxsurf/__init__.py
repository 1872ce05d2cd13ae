"""Faithful interpolation between images."""
