"""Train a model, or go on training one.

    python launch/train.py --config=configs/arm.py --workdir=runs/arm

The same command again resumes. `--config.section.name=value` changes a setting. `--profile=100`
writes a trace of 100 steps: tensorboard --logdir=runs/arm/profile.

Several processes, on one host or many, train as one when each is started with the same command over
the same files, and which of them it is; on Slurm and Cloud TPU `--distributed` alone will do:

    python launch/train.py --config=configs/arm.py --workdir=/shared/runs/arm --distributed \
        --coordinator=HOST:PORT --num_processes=2 --process_id=0
"""

from absl import flags

from jaxsurf.pipeline.command import options, script
from jaxsurf.pipeline.run import train

_CONFIG = options.define_config()
_WORKDIR = options.define_workdir()
_CLUSTER = options.define_cluster()
_EXTEND = flags.DEFINE_bool("extend", False, "Allow more epochs than the run was begun with.")
_PROFILE = flags.DEFINE_integer(
    "profile", 0, "Write a trace of so many steps to WORKDIR/profile, for TensorBoard.", 0
)


def main() -> object:
    """Train."""
    return train(
        _CONFIG(),
        _WORKDIR(),
        extend=_EXTEND.value,
        cluster=_CLUSTER(),
        profile=_PROFILE.value,
    )


if __name__ == "__main__":
    script.run(main)
