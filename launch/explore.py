"""Explore a run in the browser: click two points, and watch the path between them.

    python launch/explore.py --workdir=runs/arm --open
    python launch/explore.py --latents=z.pkl --images=particles/ --labels=table.csv

The page is served to this machine alone, and loads nothing from anywhere else. Codes of other
models have a map, a graph and paths without any model; with images, paths are shown by these.
"""

from pathlib import Path

from absl import flags

from jaxsurf.pipeline import cli

_WORKDIR = flags.DEFINE_string("workdir", "", "Folder of the run; with --latents, for exports.")
_CHECKPOINT = cli.define_string("checkpoint", "last")
_DATA = cli.define_string("data")
_LATENTS = flags.DEFINE_string("latents", "", "Codes of another model: a file of numbers.")
_IMAGES = flags.DEFINE_string("images", "", "Their images: a folder, or a file of arrays.")
_LABELS = flags.DEFINE_string("labels", "", "What is known about them: a table with a head.")
_PORT = flags.DEFINE_integer("port", 0, "Where to listen; 0 is any free port.", 0, 65535)
_OPEN = flags.DEFINE_bool("open", False, "Whether to open the page in a browser.")


def main() -> object:
    from jaxsurf.pipeline import explore

    return explore.explore(
        _WORKDIR.value and Path(_WORKDIR.value),
        checkpoint=_CHECKPOINT.value,
        data=_DATA.value,
        latents=_LATENTS.value,
        images=_IMAGES.value,
        labels=_LABELS.value,
        port=_PORT.value,
        opened=_OPEN.value,
    )


if __name__ == "__main__":
    cli.run(main)
