"""From a latent path to an animation."""
