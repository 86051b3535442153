"""Where a run's files are: the one class that makes their names."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hpcpgd import provenance
from hpcpgd.checkpoint.folder import Folder
from hpcpgd.config import RunConfig


@dataclass(frozen=True)
class RunFiles:
    """The files of a run.

    Attributes
    ----------
    run_file : Path
    checkpoints : Folder
    """

    run_file: Path
    checkpoints: Folder


def files_of(config: RunConfig, started: datetime) -> RunFiles:
    """Return the files of a run that ``config`` describes."""
    run_file = Path(config.output)
    if config.output == "auto":
        word = Path(config.dataset).stem[:40]
        slug = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in word)
        time = f"{started:%Y%m%dT%H%M%SZ}"
        run_file = Path(f"hpcpgd-{slug}-{time}-{provenance.job_label()}.h5")
    return with_run_file(config, run_file)


def with_run_file(config: RunConfig, run_file: Path) -> RunFiles:
    """Return the files of a run whose run file is known."""
    folder = Path(config.checkpoint_dir)
    if config.checkpoint_dir == "auto":
        folder = beside(run_file)
    return RunFiles(run_file, Folder(folder))


def beside(run_file: Path) -> Path:
    """Return the folder in which the checkpoints are if nothing else is said."""
    return run_file.parent / f"{run_file.stem}.checkpoints"
