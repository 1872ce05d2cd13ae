"""Train a model, or go on training one.

    python launch/train.py --config=configs/arm.py --workdir=runs/arm

The same command again resumes. `--config.section.name=value` changes a setting.
"""

from absl import flags

from jaxsurf.pipeline import command, options, train

_CONFIG = options.define_config()
_WORKDIR = options.define_workdir()
_EXTEND = flags.DEFINE_bool("extend", False, "Allow more epochs than the run was begun with.")


def main() -> object:
    """Train."""
    return train.train(_CONFIG(), _WORKDIR(), extend=_EXTEND.value)


if __name__ == "__main__":
    command.run(main)
