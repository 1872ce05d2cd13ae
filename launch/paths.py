"""Find a way through latent codes of your own; no model and no images are needed.

    python launch/paths.py --latents=codes.npy --anchors=3,17,256 --loop --out=runs/paths
    python launch/paths.py --latents=z.50.pkl --anchors=centers_ind.txt --k=10 --repair --out=runs/z

An anchor is a row of the file, counted from 0, or a code that is not in it.
"""

from jaxsurf.pipeline.command import options, script
from jaxsurf.pipeline.paths import flags, pipeline

_CONFIG = flags.define()
_OUT = options.define_out()


def main() -> object:
    """Find the way."""
    return pipeline.run(_CONFIG(), _OUT())


if __name__ == "__main__":
    script.run(main)
