"""How good an interpolation is."""
