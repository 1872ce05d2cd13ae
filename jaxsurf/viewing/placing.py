"""Where members and their labels stand along an axis of values."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

# Members of one value stand side by side over this share of the way to the next.
SPREAD = 0.6
# The narrowest panel, a fourth of 1200 pixels, is about as wide: labels that are longer taken
# together would run into each other if not slanted; one that is longer is cut down to its tail.
MOST_CHARACTERS = 24
TAIL = MOST_CHARACTERS - len("999: ...")


def in_order(values: Sequence[str]) -> list[str]:
    """Return each value once: numbers by size, others in the order in which they come."""
    found = list(dict.fromkeys(values))
    try:
        return sorted(found, key=float)
    except ValueError:
        return found


def fitting(labels: Sequence[str]) -> list[str]:
    """Return labels that fit below a panel: long ones, such as paths, are cut and numbered."""
    return [
        label if len(label) <= MOST_CHARACTERS else f"{number}: ...{label[-TAIL:]}"
        for number, label in enumerate(labels, start=1)
    ]


def spread(places: Int[np.ndarray, "some"]) -> Float[np.ndarray, "some"]:
    """Return where members of each place stand beside it, so that none hides another.

    They are mixed: a search's own order would show the other settings as slants.
    """
    random = np.random.default_rng(0)
    across = places.astype(np.float64)
    for place in np.unique(places):
        (here,) = np.nonzero(places == place)
        steps = (np.arange(len(here)) + 0.5) / len(here) - 0.5
        across[here] += SPREAD * random.permutation(steps)
    return across
