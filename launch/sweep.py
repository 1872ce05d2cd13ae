"""Train a grid of runs and put their scores into one table.

    python launch/sweep.py --config=configs/tiny_grid.py --workdir=runs/tiny_grid

The same command again resumes. `--config.section.name=value` changes a setting of all runs.
"""

from typing import cast, get_args

from absl import flags

from jaxsurf.pipeline.command import options, script
from jaxsurf.pipeline.sweep import Mode, sweep

_GRID = options.define_grid()
_WORKDIR = options.define_workdir()
_MODE = flags.DEFINE_enum(
    "mode", "auto", get_args(Mode), "Members that share shapes as one program, or in turn."
)


def main() -> object:
    """Sweep."""
    return sweep(_GRID(), _WORKDIR(), mode=cast(Mode, _MODE.value))


if __name__ == "__main__":
    script.run(main)
