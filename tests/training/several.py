"""One of two processes, for test_distributed.py: python several.py PROCESS PORT SCENE."""

import os
import sys
import time

import jax

from jaxsurf.errors import UserError
from jaxsurf.training import distributed

CALLS = 40


def agree(process):
    agreement = distributed.Agreement()
    heard = [agreement(call * (process + 1) % 7) for call in range(CALLS)]
    given = [max(call % 7, call * 2 % 7) for call in range(CALLS)]
    assert heard == [0, *given[:-1]], heard
    assert distributed.least(3.5 + process) == 3.5
    assert distributed.writes() == (process == 0)
    sys.stdout.write(f"{jax.device_count()} devices, process {jax.process_index()} done\n")


def differ(process):
    distributed.check_agreement({"settings": {"rate": 0.5}, "data": "cafe"})
    distributed.check_agreement({"settings": {"rate": 0.5}, "data": "cafe" + process * "e"})


def be_killed(process):
    agreement = distributed.Agreement()
    for call in range(100_000):
        agreement(0)
        if process == 1 and call == CALLS:
            os.kill(os.getpid(), 9)


def fail_alone(process):
    if process == 1:
        raise UserError("no space", cure="free some")
    time.sleep(100)


def main(process, port, scene):
    jax.config.update("jax_num_cpu_devices", 2)
    cluster = distributed.Cluster(
        coordinator=f"localhost:{port}", num_processes=2, process_id=process, join_s=30
    )
    try:
        with distributed.joined(cluster):
            scene(process)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        distributed.leave(1)


if __name__ == "__main__":
    _, process, port, name = sys.argv
    main(int(process), int(port), globals()[name])
