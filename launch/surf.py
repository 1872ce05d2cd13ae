"""Animate the way from one image to another, or past several, with a trained model.

    python launch/surf.py --workdir=runs/arm --source=801 --target=968

    python launch/surf.py --workdir=runs/arm --anchors=801,968,3,122 --loop --order=best

A stop is an image number, an image file that need not be in the set, or a latent code.
"""

from jaxsurf.pipeline import surf
from jaxsurf.pipeline.command import options, script, way_options
from jaxsurf.pipeline.run import open_run

_WORKDIR = options.define_workdir()
_CHECKPOINT = options.define_checkpoint()
_STOPS = way_options.define_stops()
_METHODS = way_options.define_methods()
_TIMING = way_options.define_timing()
_GRAPH = way_options.define_graph()


def main() -> object:
    """Animate."""
    config = surf.SurfConfig(
        **_STOPS(),
        methods=_METHODS(),
        timing=_TIMING(),
        graph=_GRAPH(),
    )
    return surf.surf(open_run(_WORKDIR(), checkpoint=_CHECKPOINT()), config)


if __name__ == "__main__":
    script.run(main)
