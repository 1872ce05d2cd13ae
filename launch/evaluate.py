"""Score interpolation methods on many random pairs.

python launch/evaluate.py --workdir=runs/arm --num_pairs=100 --methods=pixel,linear,surfing
"""

from dataclasses import replace

from absl import flags

from jaxsurf.pipeline import cli, evaluate
from jaxsurf.pipeline.evaluate import EvaluateConfig, Timing
from jaxsurf.pipeline.run import open_run

_WORKDIR = cli.define_string("workdir")
_CHECKPOINT = cli.define_string("checkpoint", "last")
_PAIRS = cli.define_fields(EvaluateConfig)
_TIMING = cli.define_fields(Timing, exclusive=("frames", "points_per_edge"))
_GRAPH = cli.define_graph()
flags.DEFINE_alias("method", "methods")


def main() -> object:
    config = EvaluateConfig(**_PAIRS(), timing=Timing(**_TIMING()))
    run = open_run(_WORKDIR.value, checkpoint=_CHECKPOINT.value)
    return evaluate.evaluate(run, replace(config, graph=_GRAPH(run.config.graph)))


if __name__ == "__main__":
    cli.run(main)
