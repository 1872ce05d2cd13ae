"""Animate the way from one image to another with a trained model.

    python launch/surf.py --workdir=runs/arm --source=801 --target=968

An end is an image number, or an image file that need not be in the set.
"""

from pathlib import Path

from absl import flags

from jaxsurf.pipeline import command, surf, trained

_WORKDIR = command.define_workdir()
_SOURCE = flags.DEFINE_string("source", None, "Image number or file to start from.", required=True)
_TARGET = flags.DEFINE_string("target", None, "Image number or file to end at.", required=True)
_METHODS = command.define_methods()
_TIMING = command.define_timing()
_GRAPH = command.define_graph()


def main() -> object:
    """Animate."""
    config = surf.SurfConfig(
        source=_SOURCE.value,
        target=_TARGET.value,
        methods=tuple(_METHODS.value),
        timing=_TIMING(),
        graph=_GRAPH(),
    )
    return surf.surf(trained.open_run(Path(_WORKDIR.value)), config)


if __name__ == "__main__":
    command.run(main)
