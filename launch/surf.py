"""Animate the way from one image to another with a trained model.

    python launch/surf.py --workdir=runs/arm --source=801 --target=968

An end is an image number, or an image file that need not be in the set.
"""

from jaxsurf.pipeline import command, options, surf, trained

_WORKDIR = options.define_workdir()
_SOURCE = options.define_end("source")
_TARGET = options.define_end("target")
_METHODS = options.define_methods()
_TIMING = options.define_timing()
_GRAPH = options.define_graph()


def main() -> object:
    """Animate."""
    config = surf.SurfConfig(
        source=_SOURCE(),
        target=_TARGET(),
        methods=_METHODS(),
        timing=_TIMING(),
        graph=_GRAPH(),
    )
    return surf.surf(trained.open_run(_WORKDIR()), config)


if __name__ == "__main__":
    command.run(main)
