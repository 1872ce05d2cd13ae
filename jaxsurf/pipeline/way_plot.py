"""What the picture of a way over latent codes shows."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxsurf.frames.animate import Animation
from jaxsurf.manifold.search import Visit
from jaxsurf.pipeline.ends import End, Joined
from jaxsurf.pipeline.run.trained import TrainedRun
from jaxsurf.viewing.figures import LatentPlot

# Stops that the title names; more would be cut off at the edges of the picture.
_NAMED = 5


def make_plot(
    run: TrainedRun,
    joined: Joined,
    way: Visit,
    made: Mapping[str, Animation],
    stops: Sequence[End],
) -> LatentPlot:
    """Return the latent space with the graph and the paths on it.

    Args:
        run: whose codes are shown.
        joined: the graph that the way goes over.
        way: the graph path.
        made: animations, whose latent paths are drawn.
        stops: what the way passes, in order.
    """
    name, factor = _varying_factor(run, len(joined.codes))
    keys = [stop.key for stop in stops]
    return LatentPlot(
        codes=joined.codes,
        title=f"{run.images.name}: {_title(keys)}, {joined.graph.description}",
        edges=joined.graph.edges()[0],
        factor=factor,
        factor_name=name,
        paths={m: a.path.points for m, a in made.items() if a.path is not None},
        ends={
            name: joined.codes[way.nodes[place]]
            for name, place in zip(_names(keys), way.places, strict=True)
        },
    )


def _title(keys: Sequence[str]) -> str:
    """Return where the way leads, in one line."""
    if len(keys) > _NAMED:
        return f"{keys[0]} to {keys[-1]} past {len(keys) - 2} others"
    return " to ".join(keys)


def _names(keys: Sequence[str]) -> list[str]:
    """Return what stops are called in the plot; one that comes again bears all its numbers."""
    if len(keys) == 2:
        return [f"source {keys[0]}", f"target {keys[1]}"]
    numbers = {key: [str(n) for n, same in enumerate(keys, 1) if same == key] for key in keys}
    return [f"{', '.join(numbers[key])}: {key}" for key in keys]


def _varying_factor(run: TrainedRun, num_codes: int) -> tuple[str, np.ndarray | None]:
    """Return name and values of the first factor that varies, if images have one each."""
    factors = run.images.factors
    if factors is None or len(factors) != num_codes:
        return "", None
    varying = np.flatnonzero(np.ptp(factors, axis=0))
    if not varying.size:
        return "", None
    return run.images.factor_names[varying[0]], factors[:, varying[0]].astype(np.float64)
