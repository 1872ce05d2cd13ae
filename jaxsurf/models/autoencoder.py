"""Autoencoders by name (skeleton; being filled)."""

from flax import nnx
from jaxtyping import Array, Float


class Autoencoder(nnx.Module):
    """What every model offers; images are float32 in [0, 1], NHWC."""

    def encode(
        self, images: Float[Array, "batch height width channel"]
    ) -> Float[Array, "batch latent"]:
        """Return the latent codes of images."""
        raise NotImplementedError

    def decode(
        self, codes: Float[Array, "batch latent"]
    ) -> Float[Array, "batch height width channel"]:
        """Return the images of latent codes."""
        raise NotImplementedError

    def __call__(
        self, images: Float[Array, "batch height width channel"]
    ) -> Float[Array, "batch height width channel"]:
        """Return the reconstructions of images."""
        return self.decode(self.encode(images))
