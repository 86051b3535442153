"""Whether a run ends before its last epoch: what its validations say."""

from __future__ import annotations

from hpcpgd.cli.quantities import reached
from hpcpgd.config.run_config import RunConfig, flag_name
from hpcpgd.data import Dataset
from hpcpgd.errors import ConfigError
from hpcpgd.results.history import History


def require_validation(config: RunConfig, dataset: Dataset) -> None:
    """Raise ``ConfigError`` on every rank if an option needs validations that cannot be."""
    for name in ("patience", "target_accuracy", "keep_best"):
        what = "accuracy" if dataset.validation.rows else "validation rows"
        known = dataset.validation.rows and (dataset.has_accuracy or name != "target_accuracy")
        if getattr(config, name) != getattr(RunConfig, name) and not known:
            text = f"{flag_name(name)}: {dataset.name} has no {what}: leave it out, or take others"
            raise ConfigError(text, agreed=True)


def judge(history: History, config: RunConfig) -> tuple[bool, str]:
    """Return whether the run ends with the epochs so far, and the lines to print at its end."""
    due, lines = False, ""
    if config.target_accuracy != "none":
        target = float(config.target_accuracy)
        when = history.until(target)
        due, lines = when[0] > 0, f"--target-accuracy {target:g}: {reached(*when)}\n"
    if config.patience != "none" and len(history) - history.best >= int(config.patience):
        since = f"the validation loss has not fallen since epoch {history.best}"
        if not history.best:
            since = "no validation loss was finite"
        lines += f"--patience {config.patience}: ended after epoch {len(history)}, as {since}\n"
        due = True
    return due, lines
