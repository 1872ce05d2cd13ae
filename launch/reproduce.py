"""Run every experiment of the report, and judge each of its claims.

    python launch/reproduce.py --workdir=runs/reproduction --scale=small
    python launch/reproduce.py --workdir=runs/reproduction --scale=full --mpi3d=mpi3d_toy.npz

`small` takes ten minutes on two cores; `full` is for accelerators. The same command again
resumes. Everything is put together on one page, reproduction.md.
"""

from jaxsurf.pipeline import cli
from jaxsurf.pipeline.reproduce.reproduction import Scale

_WORKDIR = cli.define_string("workdir")
_SCALE = cli.define_fields(Scale, name="scale")


def main() -> object:
    from jaxsurf.pipeline.reproduce import reproduction

    return reproduction.reproduce(Scale(**_SCALE()), _WORKDIR.value)


if __name__ == "__main__":
    cli.run(main)
