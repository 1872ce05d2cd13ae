"""Find a path through latent codes of your own; no model and no images are needed.

    python launch/paths.py --latents=codes.npy --anchors=3,17,256 --loop --out=runs/paths
    python launch/paths.py --latents=z.50.pkl --anchors=centers_ind.txt --k=20 --out=runs/z

An anchor is a row of the file, counted from 0, or a code that is not in it.
"""

from pathlib import Path

from jaxsurf.pipeline import cli
from jaxsurf.pipeline.path_inputs import GRAPH, PathsConfig, Trimming

_PATH = cli.define_fields(PathsConfig, exclusive=("frames", "points_per_edge"))
_GRAPH = cli.define_graph()
_TRIMMING = cli.define_fields(Trimming)
_OUT = cli.define_string("out")


def main() -> object:
    from jaxsurf.pipeline import paths

    config = PathsConfig(**_PATH(), graph=_GRAPH(GRAPH), trimming=Trimming(**_TRIMMING()))
    return paths.run(config, Path(_OUT.value))


if __name__ == "__main__":
    cli.run(main)
