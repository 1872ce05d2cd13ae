"""Many rows through a function on the device, a batch at a time.

A row is whatever the first axis counts: an image, a latent code. The last batch is filled up with
copies of its last row, so that a jitted function is compiled once or a few times, whatever the
number of rows. At most two results lie on the device at any time, whatever their number.
"""

from collections.abc import Callable, Iterator

import jax
import numpy as np
from jaxtyping import Array, PyTree, Shaped

# Fewer rows are filled up to this: one program less is worth more than seven spare rows.
SMALLEST_BUCKET = 8

Rows = Shaped[np.ndarray, "row *rest"]


def mapped(
    run: Callable[[Rows], PyTree[Array]], rows: Rows, *, size: int, bucketed: bool = False
) -> PyTree[np.ndarray]:
    """Return what a function gives for each row, on the host.

    Args:
        run: maps a batch to an array, or to a tuple of arrays, with one row for each of its own.
            It should return before the device is done, as jitted functions do.
        rows: at least one.
        size: rows in a batch.
        bucketed: whether the last batch is filled up to the next power of two only (at least
            `SMALLEST_BUCKET`, at most `size`), which is less work and a few programs more.

    Returns:
        As `run` does, as numpy arrays with one row for each of `rows`, in their order.

    Raises:
        ValueError: there is no row, or `size` is not positive.
    """
    if not len(rows) or size < 1:
        raise ValueError(f"{len(rows)} rows in batches of {size}: both must be at least 1")
    parts = (rows[start : start + size] for start in range(0, len(rows), size))
    launched = (
        run(_filled(part, _bucket(len(part), size) if bucketed else size)) for part in parts
    )
    return jax.tree.map(
        lambda *results: np.concatenate(results)[: len(rows)], *_fetched_one_late(launched)
    )


def _bucket(number: int, largest: int) -> int:
    """Return the power of two that a number of rows is filled up to, at most `largest`."""
    return min(largest, max(SMALLEST_BUCKET, 1 << (number - 1).bit_length()))


def _filled(rows: Rows, size: int) -> Rows:
    """Return rows with the last one repeated until there are `size`."""
    missing = size - len(rows)
    return np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)]) if missing else rows


def _fetched_one_late(results: Iterator[PyTree[Array]]) -> Iterator[PyTree[np.ndarray]]:
    """Yield results on the host, each while the device works on the next.

    Fetching at once would idle the device; fetching at the end would keep every result on it.
    """
    previous = next(results)
    for result in results:
        yield jax.device_get(previous)
        previous = result
    yield jax.device_get(previous)
