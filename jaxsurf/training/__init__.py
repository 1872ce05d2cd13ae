"""From images and a network to trained weights."""
