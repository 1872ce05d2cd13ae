"""Paths through latent codes of any origin: no model, no images."""
