"""Train a grid of runs and put their scores into one table.

    python launch/sweep.py --config=configs/tiny_grid.py --workdir=runs/tiny_grid

The same command again resumes. `--config.section.name=value` changes a setting of all runs.
"""

from typing import cast, get_args

from absl import flags

from jaxsurf.pipeline import cli
from jaxsurf.pipeline.sweep import Mode, best, read_grid, sweep

_GRID = cli.define_config()
_WORKDIR = cli.define_string("workdir")
_MODES = "Train runs that share shapes as one program, or in turn; auto: in turn on CPUs."
_MODE = flags.DEFINE_enum("mode", "auto", get_args(Mode), _MODES)


def main() -> object:
    return best(sweep(read_grid(_GRID()), _WORKDIR.value, mode=cast(Mode, _MODE.value)))


if __name__ == "__main__":
    cli.run(main)
