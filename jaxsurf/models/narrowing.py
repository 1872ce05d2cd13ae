"""A convolution to fewer channels, whose gradient CPUs compute in half the time.

The gradient with respect to a kernel correlates input and output. XLA lays out nine shifted copies
of the one that it takes for the image, and JAX makes that the input, the wider of the two here;
with the roles turned the copies are of the output (BUILD_NOTES.md). Values and derivatives are
those of the plain convolution up to rounding, in forward mode too.
"""

import jax
from jax import lax
from jaxtyping import Array, Float

from jaxsurf.models import products

Maps = Float[Array, "batch height width in"]
Kernel = Float[Array, "3 3 in out"]


@jax.custom_jvp
def convolve(maps: Maps, kernel: Kernel) -> Float[Array, "batch height width out"]:
    """Return the convolution of stride 1 with zero padding that keeps height and width."""
    return products.plain(maps, kernel)


@convolve.defjvp
def _convolve_jvp(
    primals: tuple[Maps, Kernel], tangents: tuple[Maps, Kernel]
) -> tuple[Array, Array]:
    (maps, kernel), (maps_change, kernel_change) = primals, tangents
    change = convolve(maps_change, kernel) + _turned(maps, kernel_change)
    return convolve(maps, kernel), change


def _turned(maps: Maps, kernel: Kernel) -> Float[Array, "batch height width out"]:
    """Return `convolve` with the kernel for an image and the maps for its kernel.

    It is slow itself, but its transpose is what is wanted. Place h of the output is the sum over
    places p of the maps times kernel place p - h + 1, so that it counts backwards.
    """
    around = [(side - 2, side - 2) for side in maps.shape[1:3]]
    numbers = lax.ConvDimensionNumbers(
        lhs_spec=(3, 2, 0, 1),  # kernel: its outputs are the batch, its inputs the channels
        rhs_spec=(0, 3, 1, 2),  # maps: their batch is what comes out, their channels go in
        out_spec=(3, 0, 1, 2),
    )
    backwards = lax.conv_general_dilated(kernel, maps, (1, 1), around, dimension_numbers=numbers)
    return backwards[:, ::-1, ::-1]
