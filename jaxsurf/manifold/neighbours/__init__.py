"""The exact search for what is nearest: by trees, by products, and the choice between them."""
