"""What VGG16 is made of, by name.

Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015,
configuration D. Convolutions are called `block3_conv2`, and what their ReLU puts out `relu3_2`.
"""

from collections.abc import Sequence

from jaxsurf.errors import UserError

# Of each block: the channels of its convolutions, and how many there are.
BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
CONVOLUTIONS = tuple(
    f"block{block}_conv{number}"
    for block, (_, count) in enumerate(BLOCKS, start=1)
    for number in range(1, count + 1)
)


def relu(convolution: str) -> str:
    """Return the name of what a convolution's ReLU puts out."""
    return convolution.replace("block", "relu").replace("conv", "")


RELUS = tuple(map(relu, CONVOLUTIONS))


def kernel_shape(convolution: str) -> tuple[int, int, int, int]:
    """Return a kernel's shape: height, width, channels in, channels out."""
    widths = [width for width, count in BLOCKS for _ in range(count)]
    place = CONVOLUTIONS.index(convolution)
    return (3, 3, widths[place - 1] if place else 3, widths[place])


def up_to(relus: Sequence[str]) -> tuple[str, ...]:
    """Return the convolutions that the given outputs need: all to the deepest, in order.

    Raises:
        UserError: there are none, or one that VGG16 does not have.
    """
    unknown = [name for name in relus if name not in RELUS]
    if unknown or not relus:
        raise UserError(
            f"VGG16 has no layer {unknown[0]!r}" if unknown else "no layer of VGG16 is named",
            cure=f"choose from {', '.join(RELUS)}",
        )
    return CONVOLUTIONS[: 1 + max(map(RELUS.index, relus))]
