"""Check that any number of jobs can share a kernel cache, even if it is empty at first.

    python -m scripts.check_kernel_cache [--quick] [--only rounds] [--seed 0] [--output FILE.json]

``rounds``: 1,000 times, 8 processes compile small functions through one cache at the same time,
and a random one is killed.  Nothing may fail, no damaged file may be used, and a published file
must stay.  ``jobs``: 10 times, six jobs (backends, reductions, data types, threads) start at once
with an empty cache; all must end with the same weights as with a filled one.  ``array``: 5 times,
an array of 8 tasks runs first on the four nodes of a virtual SLURM with an empty cache; needs
Debian's slurm-wlm and munge.  The exit code is 1 if anything fails.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from hpcpgd.cli.launcher import guarded

ROOT = Path(__file__).resolve().parents[1]
PROCESSES = 8
FUNCTIONS = 3
LIMIT = 400.0  # seconds for a job that shares its cores with five others
TRAIN = ("--epochs", "2", "--quiet")
JOBS = (
    (2, ("--reduction", "shared", "--threads", "1")),
    (2, ("--reduction", "reproducible", "--threads", "1")),
    (2, ("--reduction", "allreduce", "--dtype", "float64", "--threads", "2")),
    (2, ("--backend", "loops", "--reduction", "allreduce", "--threads", "2")),
    (2, ("--backend", "loops", "--reduction", "reproducible")),
    (1, ("--backend", "gemv", "--threads", "1")),
)
ARRAY = """#!/bin/bash
#SBATCH --array=0-7 --ntasks=1 --nodes=1 --output=%a.txt
{python} -m hpcpgd.train {words} --reduction reproducible --threads 1 \\
    --output $SLURM_ARRAY_TASK_ID.h5
"""


@dataclass
class Counts:
    """The results of a kind of trial."""

    trials: int = 0
    killed: int = 0
    compiled: int = 0
    wrong: list[str] = field(default_factory=list)


def _child(folder: Path, number: int) -> None:
    """Compile or load the small functions of a round, call them, and end this process."""
    from hpcpgd.kernels.core.compiled import compiled
    from hpcpgd.kernels.core.kernel_files import DISK

    DISK.read, DISK.write = [folder], folder
    # The functions need a module that can be imported: a loaded kernel imports its module.
    module = sys.modules[f"round{number}"] = ModuleType(f"round{number}")
    code = 0
    for factor in range(FUNCTIONS):
        exec(f"def times{factor}(x):\n    return x * {factor + 2} + {number}\n", vars(module))
        function = compiled()(getattr(module, f"times{factor}"))
        if function(5) != 5 * (factor + 2) + number:
            code = 3
    if DISK.damaged or DISK.unkept:
        code = 4
    os._exit(code)


def _round(folder: Path, number: int, draw: random.Random, counts: Counts) -> None:
    """Start the processes, kill one at a random moment, and wait for the others."""
    children = []
    for _ in range(PROCESSES):
        pid = os.fork()
        if pid == 0:
            try:
                _child(folder, number)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(5)
        children.append(pid)
    time.sleep(draw.uniform(0, 0.4))
    victim = draw.choice(children)
    os.kill(victim, signal.SIGKILL)
    for pid in children:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if pid == victim and code == -signal.SIGKILL:
            counts.killed += 1
        elif code != 0:
            counts.wrong.append(f"round {number}: a process ended with {code}")
    counts.trials += 1


def rounds(trials: int, seed: int, counts: Counts) -> None:
    """Let processes compile through one cache, whose files must stay and be complete."""
    from hpcpgd.kernels.core.compiled import compiled
    from hpcpgd.kernels.core.kernel_files import SUFFIX, unsealed

    compiled()(lambda x: x + 1)(1)  # initialises numba before the first fork
    draw = random.Random(seed)
    published: dict[str, tuple[int, int]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(trials):
            _round(folder, number, draw, counts)
            for file, identity in published.items():
                if not (folder / file).exists() or _identity(folder / file) != identity:
                    counts.wrong.append(f"round {number}: {file} was lost or changed")
            new = [path for path in folder.glob(f"*{SUFFIX}") if path.name not in published]
            counts.compiled += len(new)
            counts.wrong += [f"{path.name} is damaged" for path in new if unsealed(path) is None]
            published |= {path.name: _identity(path) for path in new}
            if len(new) != FUNCTIONS:
                counts.wrong.append(f"round {number}: {len(new)} new files, not {FUNCTIONS}")


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def _start(cache: Path, folder: Path, number: int) -> subprocess.Popen[str]:
    ranks, flags = JOBS[number]
    command = ["mpiexec", "-n", str(ranks), sys.executable, "-m", "hpcpgd.train", *TRAIN, *flags]
    return subprocess.Popen(
        [*command, "--output", f"{number}.h5"], cwd=folder, text=True, start_new_session=True,
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def _finish(process: subprocess.Popen[str]) -> str:
    """Wait for a job and return what is wrong with its end, "" if nothing is."""
    try:
        _, error = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return "no end"
    return f"code {process.returncode}: {error[-2000:]}" if process.returncode or error else ""


def _weights(path: Path) -> Any:
    import h5py
    import numpy as np

    with h5py.File(path) as file:
        layers = file["model"].values()
        return np.concatenate([l["weights"][...].ravel() for l in layers if "weights" in l])


def jobs(trials: int, seed: int, counts: Counts) -> None:
    """Start six jobs at once with an empty cache; compare with the same and a filled one."""
    import numpy as np

    with tempfile.TemporaryDirectory() as name:
        expected = []
        for number in range(len(JOBS)):
            wrong = _finish(_start(Path(name, "filled"), Path(name), number))
            counts.wrong += [f"job {number} alone: {wrong}"] if wrong else []
            expected.append(_weights(Path(name, f"{number}.h5")))
        for trial in range(trials):
            folder = Path(name, str(trial))
            folder.mkdir()
            started = [_start(folder / "cache", folder, number) for number in range(len(JOBS))]
            for number, process in enumerate(started):
                wrong = _finish(process)
                if not wrong:
                    seen = _weights(folder / f"{number}.h5")
                    if not np.allclose(seen, expected[number], rtol=0, atol=1e-5):
                        wrong = "other weights"
                counts.wrong += [f"trial {trial}, {JOBS[number]}: {wrong}"] if wrong else []
            counts.trials += 1


def array(trials: int, seed: int, counts: Counts) -> None:
    """Run a job array first on a virtual SLURM with an empty cache."""
    import h5py

    script = str(ROOT / "scripts" / "slurm_cluster.sh")
    with tempfile.TemporaryDirectory() as name:
        env = {**os.environ, "HPCPGD_SLURM_DIR": f"{name}/slurm", "PYTHONPATH": str(ROOT)}
        env["SLURM_CONF"] = f"{name}/slurm/slurm.conf"
        subprocess.run([script, "start"], env=env, check=True, timeout=120)
        try:
            for trial in range(trials):
                folder = Path(name, str(trial))
                folder.mkdir()
                (folder / "job.sh").write_text(
                    ARRAY.format(python=sys.executable, words=" ".join(TRAIN)), encoding="utf-8"
                )
                env["NUMBA_CACHE_DIR"] = str(folder / "cache")
                subprocess.run(
                    ["sbatch", "--wait", "job.sh"], cwd=folder, env=env, timeout=2 * LIMIT,
                    check=False, stdout=subprocess.DEVNULL,
                )  # fmt: skip
                hashes = set()
                for task in range(8):
                    try:
                        with h5py.File(folder / f"{task}.h5") as file:
                            hashes.add((file.attrs["status"], file.attrs["params_sha256"]))
                    except OSError:
                        text = (folder / f"{task}.txt").read_text(encoding="utf-8")[-2000:]
                        counts.wrong.append(f"trial {trial}, task {task}: {text}")
                if len(hashes) != 1 or next(iter(hashes))[0] != "complete":
                    counts.wrong.append(f"trial {trial}: {hashes}")
                counts.trials += 1
        finally:
            subprocess.run([script, "stop"], env=env, check=True, timeout=120)


KINDS: dict[str, tuple[Callable[[int, int, Counts], None], int, int]] = {
    "rounds": (rounds, 1000, 5),
    "jobs": (jobs, 10, 1),
    "array": (array, 5, 1),
}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="few trials")
    parser.add_argument("--only", action="append", choices=KINDS, help="default: all kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--output", type=Path, help="default: scripts/results/MACHINE-DATE/check_kernel_cache.json"
    )
    return parser.parse_args(argv)


def check(options: argparse.Namespace) -> int:
    """Run all kinds of trials, write the results, and return the exit code."""
    from scripts import findings

    path = options.output or findings.default_path("check_kernel_cache")
    results = findings.about("check_kernel_cache")
    # Kinds that are not tried now keep their earlier results, which name their commit.
    results["kinds"] = json.loads(path.read_text())["kinds"] if path.exists() else {}
    wrong = 0
    for kind in options.only or KINDS:
        run, full, quick = KINDS[kind]
        counts, begin = Counts(), time.perf_counter()
        run(quick if options.quick else full, options.seed, counts)
        seconds = round(time.perf_counter() - begin, 1)
        setting = {"seed": options.seed, **findings.moment(), "seconds": seconds}
        results["kinds"][kind] = {**setting, **vars(counts)}
        findings.write(path, results)
        print(f"{kind}: {counts.trials} trials, {len(counts.wrong)} wrong, {seconds:.0f} s")
        for line in counts.wrong[:20]:
            print(line, file=sys.stderr)
        wrong += len(counts.wrong)
    return 1 if wrong else 0


def main(argv: Sequence[str]) -> int:
    return guarded("check_kernel_cache", lambda: check(parse(argv)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
