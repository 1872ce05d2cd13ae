"""Score interpolation methods on many pairs: are animations real, right and even?

python launch/evaluate.py --workdir=runs/arm --num_pairs=100 --methods=pixel,linear,surfing

Several working directories, with commas between, are evaluated in turn and shown side by side.
"""

from dataclasses import replace
from pathlib import Path

from absl import flags

from jaxsurf.pipeline import cli, evaluate
from jaxsurf.pipeline.evaluate import EvaluateConfig, Timing
from jaxsurf.pipeline.run import open_run

_WORKDIR = cli.define_string("workdir")
_CHECKPOINT = cli.define_string("checkpoint", "last")
_DATA = cli.define_string("data")
_PAIRS = cli.define_fields(EvaluateConfig)
_TIMING = cli.define_fields(Timing, exclusive=("frames", "points_per_edge"))
_GRAPH = cli.define_graph()
flags.DEFINE_alias("method", "methods")


def main() -> object:
    config = EvaluateConfig(**_PAIRS(), timing=Timing(**_TIMING()))
    whole = _WORKDIR.value
    folders = [whole] if Path(whole).exists() else whole.split(",")
    runs = [open_run(folder, checkpoint=_CHECKPOINT.value, data=_DATA.value) for folder in folders]
    found = {}
    for run in runs:
        own = replace(config, graph=_GRAPH(run.config.graph))
        found[str(run.workdir.root)] = evaluate.evaluate(run, own)
    return evaluate.side_by_side(found)


if __name__ == "__main__":
    cli.run(main)
