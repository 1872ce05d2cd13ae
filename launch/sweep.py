"""Train a grid of runs and put their scores into one table.

    python launch/sweep.py --config=configs/tiny_grid.py --workdir=runs/tiny_grid

The same command again resumes. `--config.section.name=value` changes a setting of all runs.
"""

from typing import cast, get_args

from absl import flags

from jaxsurf.pipeline import command, options, sweep

_GRID = options.define_grid()
_WORKDIR = options.define_workdir()
_MODE = flags.DEFINE_enum(
    "mode", "auto", get_args(sweep.Mode), "Members that share shapes as one program, or in turn."
)


def main() -> object:
    """Sweep."""
    return sweep.sweep(_GRID(), _WORKDIR(), mode=cast(sweep.Mode, _MODE.value))


if __name__ == "__main__":
    command.run(main)
