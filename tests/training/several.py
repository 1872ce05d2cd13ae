"""One of two processes, for test_hosts.py: python several.py PROCESS PORT SCENE."""

import os
import signal
import sys
import time
import traceback

import jax

from jaxsurf import stopping
from jaxsurf.errors import UserError
from jaxsurf.training import hosts

CALLS = 40


def agree(process):
    agreement = hosts.Agreement()
    heard = [agreement(call * (process + 1) % 7) for call in range(CALLS)]
    given = [max(call % 7, call * 2 % 7) for call in range(CALLS)]
    assert heard == [0, *given[:-1]], heard
    sys.stdout.write(f"{jax.device_count()} devices, process {jax.process_index()} done\n")


def differ(process):
    hosts.check_agreement({"settings": {"rate": 0.5}, "data": "cafe"})
    hosts.check_agreement({"settings": {"rate": 0.5}, "data": f"cafe{process}"})


def be_killed(process):
    agreement = hosts.Agreement()
    for call in range(100_000):
        agreement(0)
        if process == 1 and call == CALLS:
            os.kill(os.getpid(), 9)


def be_killed_before_all_meet(process):
    if process == 1:
        time.sleep(1)
        os.kill(os.getpid(), 9)
    hosts.wait_for_all("here")


def be_killed_with_nobody_to_read_of_it(process):
    if process == 0:
        sys.stderr = None
    be_killed_before_all_meet(process)


def be_killed_before_its_line_is_drawn(process):
    raise AssertionError("the run begins")


def be_killed_before_the_end(process):
    if process == 1:
        time.sleep(1)
        os.kill(os.getpid(), 9)


def be_killed_while_they_part(process):
    if process == 1:
        jax.distributed.shutdown = lambda: os.kill(os.getpid(), 9)


def fail_unforeseen(process):
    if process == 0:
        raise RuntimeError("no such thing")
    time.sleep(60)


def fail_unforeseen_in_turn(process):
    time.sleep(0.5 * process)
    raise RuntimeError("no such thing")


def fail_of_memory_in_turn(process):
    time.sleep(0.5 * process)
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: no such thing")


def fail_alike_and_be_killed(process):
    if process == 1:
        hosts.multihost_utils.sync_global_devices = lambda name: os.kill(os.getpid(), 9)
    raise hosts.Disagreement("no such images", cure="look for them")


def fail(process):
    agreement = hosts.Agreement()
    for call in range(100_000):
        agreement(0)
        if process == 0 and call == CALLS:
            raise UserError("no space", cure="free some")


def fail_alike_0_first(process):
    time.sleep(0.5 * process)
    raise UserError("no such images", cure="look for them")


def fail_alike_1_first(process):
    fail_alike_0_first(1 - process)


def be_asked_to_stop(process):
    if process == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(20)


def main(process, port, scene):
    jax.config.update("jax_num_cpu_devices", 2)
    if scene is be_killed_before_its_line_is_drawn:
        hosts.lifeline.Spoke = lambda *args, **more: os.kill(os.getpid(), 9)
    cluster = hosts.Cluster(
        coordinator=f"localhost:{port}", num_processes=2, process_id=process, join_s=30
    )
    try:
        with stopping.watched(), hosts.joined(cluster):
            scene(process)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.stderr.flush()
        os._exit(1)
    except stopping.Stopped as error:
        os._exit(stopping.exit_status(error.signal))
    except Exception:  # noqa: BLE001  (as launch scripts do)
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


if __name__ == "__main__":
    _, process, port, name = sys.argv
    main(int(process), int(port), globals()[name])
