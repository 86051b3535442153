"""Check that random texts in SLURM scripts are neither executed nor changed.

    python -m scripts.check_quoting            # 10,000 scripts
    python -m scripts.check_quoting --quick    # 300

Each script is checked by ``bash -n``, parsed as sbatch does it, and run with a stub in place of
Python, which must receive exactly the intended words.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from hpcpgd.config.run_config import RunConfig
from hpcpgd.study.grid import Point
from hpcpgd.study.launchers import Launcher
from hpcpgd.study.slurm.script import Array, array_script, report_script
from hpcpgd.study.slurm.site import Site

MANY, FEW = 10_000, 300
OPTION = re.compile(r"--[a-z-]+=[\w.%-]+", re.ASCII)
STUB = '#!/bin/sh\nfor word do printf \'%s\\0\' "$word"; done >>"$STUB_LOG"\n'
PIECES = (
    *"abcXYZ019 \t'\"\\$`;&|<>(){}[]*?!~#%=-\n\r", "é", "\u2028", "\u202e", "$(touch PWNED)",
    "`touch PWNED`", "';touch PWNED;'", '";touch PWNED;"', "\n#SBATCH --wrap=touch\n",
    "\ntouch PWNED\n", "${IFS}", "$STUB_LOG", "-rf", "../", "%j", "\\\n", "EOF\n", "&& touch PWNED",
)  # fmt: skip


def text(draw: random.Random) -> str:
    return "x" + "".join(draw.choices(PIECES, k=draw.randrange(12)))


def directives(script: str) -> list[str]:
    """Return the options that sbatch would read: those before the first command."""
    options = takewhile(lambda line: line.startswith("#SBATCH"), script.splitlines()[1:])
    return [line.removeprefix("#SBATCH ") for line in options]


def later(script: str) -> int:
    """Return the number of the first line that sbatch takes for neither blank nor a comment."""
    lines = script.split("\n")
    return next(i for i, line in enumerate(lines) if line.strip() and not line.startswith("#"))


def words_of(run: bytes) -> list[list[str]]:
    """Return the words of each call of the stub; a call begins with ``-m``."""
    calls: list[list[str]] = []
    for word in run.decode().split("\0")[:-1]:
        if word == "-m":
            calls.append([])
        calls[-1].append(word)
    return calls


def launched(point: Point, output: Path) -> list[list[str]]:
    """Return the words that a launcher must receive, from the first ``-m`` on."""
    alone = ["--overwrite", "--quiet", "--resume", "never", "--checkpoint-every", "never"]
    train = ["hpcpgd.train", "--dataset", dict(point.given)["dataset"], *alone]
    return [
        ["-m", "srun", "-n", str(point.ranks), sys.executable],
        ["-m", *train, "--output", str(output)],
    ]


def one(number: int, draw: random.Random, folder: Path) -> str:
    """Try one script of each kind; return what is wrong, "" if nothing is."""
    stub, log = folder / "stub", folder / "log"
    log.unlink(missing_ok=True)
    variables = (("HPCPGD_A", text(draw)), ("NUMBA_CACHE_DIR", text(draw)))
    site = Site(python=str(stub), partition="p", environment=variables)
    study, folder_of_runs = Path(text(draw)), Path(text(draw))
    name = text(draw)
    names = tuple(text(draw) for _ in range(3))
    array = array_script(name, Array(2, 3, False, names), 60, site, study, folder_of_runs)
    report = report_script(name, site, study, folder_of_runs)
    pick = draw.randrange(3)
    run = ["-m", "hpcpgd.study", "run", str(study), "--folder", str(folder_of_runs),
           "--launcher", "srun --cpu-bind=cores", "--task", names[pick]]  # fmt: skip
    wanted = [
        [run],
        [["-m", "hpcpgd.study", "collect", str(study), "--folder", str(folder_of_runs)],
         ["-m", "hpcpgd.study", "report", str(folder_of_runs / "study.h5")]],
    ]  # fmt: skip
    environment = {"PATH": "/usr/bin:/bin", "STUB_LOG": str(log), "SLURM_ARRAY_TASK_ID": str(pick)}
    for script, expected, count in zip((array, report), wanted, (7, 7), strict=True):
        if len(directives(script)) != count or not all(map(OPTION.fullmatch, directives(script))):
            return f"{number}: an option of sbatch was injected"
        if "#SBATCH" in "".join(script.split("\n")[: later(script)][len(directives(script)) + 1 :]):
            return f"{number}: an option of sbatch follows the others"
        file = folder / "script"
        file.write_text(script, newline="")
        for command in (["bash", "-n", "script"], ["bash", "script"]):
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True)
            if done.returncode or done.stderr:
                return f"{number}: {command}: {done.stderr.decode()}"
        if words_of(log.read_bytes()) != expected:
            return f"{number}: saw {words_of(log.read_bytes())}, expected {expected}"
        log.unlink()
    point = Point(2, replace(RunConfig(), dataset=text(draw)), (("dataset", text(draw)),))
    output = Path(text(draw))
    command = point.command(Launcher((str(stub), "-m", "srun"), True), output)
    subprocess.run(command, cwd=folder, env=environment, check=True)
    if words_of(log.read_bytes()) != launched(point, output):
        return f"{number}: the launcher saw {words_of(log.read_bytes())}"
    log.unlink()
    left = {path.name for path in folder.iterdir()} - {"stub", "script"}
    return f"{number}: created {left}" if left else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{FEW} scripts instead of {MANY}")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw, count = random.Random(options.seed), FEW if options.quick else MANY
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "stub").write_text(STUB)
        (folder / "stub").chmod(0o755)
        wrong = [error for number in range(count) if (error := one(number, draw, folder))]
    print("\n".join(wrong[:5]))
    print(f"{count - len(wrong)} of {count} scripts of each kind right (seed {options.seed})")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
