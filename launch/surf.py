"""Animate the path from one image to another, or past several, with a trained model.

    python launch/surf.py --workdir=runs/arm --source=801 --target=968
    python launch/surf.py --workdir=runs/arm --anchors=801,968,3,122 --loop --order=best

A stop is an image number, the name of an image file of the set or the path of another one, values
of factors (`angle=30,light=left`), or a latent code (`code:0.1,-2`).
"""

from dataclasses import replace

from absl import flags

from jaxsurf.pipeline import cli, surf
from jaxsurf.pipeline.run import open_run
from jaxsurf.pipeline.surf import SurfConfig, Timing

_WORKDIR = cli.define_string("workdir")
_CHECKPOINT = cli.define_string("checkpoint", "last")
_DATA = cli.define_string("data")
_STOPS = cli.define_fields(SurfConfig)
_TIMING = cli.define_fields(Timing, exclusive=("frames", "points_per_edge"))
_GRAPH = cli.define_graph()
flags.DEFINE_alias("method", "methods")


def main() -> object:
    config = SurfConfig(**_STOPS(), timing=Timing(**_TIMING()))
    run = open_run(_WORKDIR.value, checkpoint=_CHECKPOINT.value, data=_DATA.value)
    return surf.surf(run, replace(config, graph=_GRAPH(run.config.graph)))


if __name__ == "__main__":
    cli.run(main)
