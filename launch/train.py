r"""Train a model, or go on training one.

    python launch/train.py --config=configs/arm.py --workdir=runs/arm

The same command again resumes. `--config.section.name=value` changes a setting. `--profile=100`
writes a trace of 100 steps: tensorboard --logdir=runs/arm/profile.

Several processes, on one host or many, train as one when each is started with the same command over
the same files, and which of them it is; on Slurm and Cloud TPU `--distributed` alone will do:

    python launch/train.py --config=configs/arm.py --workdir=/mnt/runs/arm --distributed \
        --coordinator=HOST:PORT --num_processes=2 --process_id=0
"""

from absl import flags

from jaxsurf.pipeline import cli, configuration
from jaxsurf.pipeline.train import Cluster, train

_CONFIG = cli.define_config()
_WORKDIR = cli.define_string("workdir")
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Be one of several processes of a run; --coordinator implies it."
)
_CLUSTER = cli.define_fields(Cluster)
_EXTEND = flags.DEFINE_bool("extend", False, "Allow more epochs than the run was begun with.")
_PROFILE = flags.DEFINE_integer("profile", 0, "Write so many steps' trace to WORKDIR/profile.", 0)


def main() -> object:
    cluster = _CLUSTER()
    return train(
        configuration.from_dict(_CONFIG()),
        _WORKDIR.value,
        extend=_EXTEND.value,
        cluster=Cluster(**cluster) if _DISTRIBUTED.value or cluster else None,
        profile=_PROFILE.value,
    )


if __name__ == "__main__":
    cli.run(main)
