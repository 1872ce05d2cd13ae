"""Image sets: where they come from, and what a pixel is."""
