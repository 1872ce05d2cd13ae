"""Run every experiment of the report, and judge each of its claims.

    python launch/reproduce.py --workdir=runs/reproduction --scale=small
    python launch/reproduce.py --workdir=runs/reproduction --scale=full --mpi3d=mpi3d_toy.npz

`small` takes a quarter of an hour on two cores; `full` is for accelerators. The same command again
resumes. Everything is put together on one page, reproduction.md.
"""

from typing import cast, get_args

from absl import flags

from jaxsurf.pipeline.command import options, script
from jaxsurf.pipeline.reproduce import reproduction, scale

_WORKDIR = options.define_workdir()
_SCALE = flags.DEFINE_enum("scale", "small", get_args(scale.Name), "How large.")
_MPI3D = flags.DEFINE_string("mpi3d", "", "MPI3D-toy's own .npz file, instead of the robot arm.")


def main() -> object:
    """Reproduce."""
    asked = scale.Scale(name=cast(scale.Name, _SCALE.value), mpi3d=_MPI3D.value or "")
    return reproduction.reproduce(asked, _WORKDIR())


if __name__ == "__main__":
    script.run(main)
