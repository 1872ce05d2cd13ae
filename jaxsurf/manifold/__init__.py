"""From latent codes to a path over the manifold."""
