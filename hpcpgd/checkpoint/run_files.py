"""Where the files of a run are; only this module makes their names."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hpcpgd.checkpoint.checkpoint_folder import Folder
from hpcpgd.config.run_config import RunConfig
from hpcpgd.environment import batch_system


@dataclass(frozen=True)
class RunFiles:
    """The files of a run."""

    run_file: Path
    checkpoints: Folder


def files_of(config: RunConfig, started: datetime, run: str) -> RunFiles:
    """Return the files of a run that ``config`` describes.

    ``run`` is its id, which makes default names unique: several runs of one job, or processes
    with the same number on several hosts, may begin in the same second.
    """
    run_file = Path(config.output)
    if config.output == "auto":
        job = word(batch_system.job_label()) or str(os.getpid())
        run_file = Path(f"{_beginning(config)}-{started:%Y%m%dT%H%M%SZ}-{job}-{run}.h5")
    return with_run_file(config, run_file)


def earlier_files(config: RunConfig) -> list[RunFiles]:
    """Return this batch job's files with default names in this folder, the last first."""
    beginning, job = re.escape(_beginning(config)), re.escape(word(batch_system.job_label()))
    name = re.compile(rf"{beginning}-\d{{8}}T\d{{6}}Z-{job}-[0-9a-f]+\.h5")
    names = [path.name for path in Path().glob("*.h5") if name.fullmatch(path.name)]
    return [with_run_file(config, Path(name)) for name in sorted(names, reverse=True)]


def _beginning(config: RunConfig) -> str:
    return f"hpcpgd-{word(Path(config.dataset).stem[:40])}"


def word(text: str) -> str:
    """Return a text as part of a file name: all but ASCII letters, digits and ``-_.`` as dashes."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in text)


def with_run_file(config: RunConfig, run_file: Path) -> RunFiles:
    """Return the files of a run whose run file is known."""
    folder = Path(config.checkpoint_dir)
    if config.checkpoint_dir == "auto":
        folder = beside(run_file)
    return RunFiles(run_file, Folder(folder))


def beside(run_file: Path) -> Path:
    """Return the default folder of the checkpoints."""
    return companion(run_file, "checkpoints")


def companion(path: Path, what: str) -> Path:
    """Return the folder of ``what`` beside a file: NAME.what beside NAME.h5.

    Only ``.h5`` is cut off: ``rate-0.1`` and ``rate-0.5`` have different folders.
    """
    name = path.stem if path.suffix == ".h5" else path.name
    return path.parent / f"{name}.{what}"
