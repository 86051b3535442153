"""Which array of a file holds features or labels of which split, by the arrays' names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hpcpgd.data.dataset import SPLITS
from hpcpgd.errors import DataError, nearest

KEYS = tuple(f"{axis}_{part}" for part in SPLITS for axis in "xy")

_AXES = {
    **dict.fromkeys(("x", "images", "image", "features", "data", "inputs", "samples"), "x"),
    **dict.fromkeys(("y", "labels", "label", "targets", "target", "classes"), "y"),
}
_PARTS = {
    **dict.fromkeys(("train", "training", "tr"), "train"),
    **dict.fromkeys(("validation", "val", "valid", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "te"), "test"),
}
_CLASS_NAMES = ("class_names", "label_names", "target_names", "names")
_JOINED = re.compile(rf"([xy])({'|'.join(_PARTS)})|({'|'.join(_PARTS)})([xy])")  # xtrain, testy
_PLAIN = re.compile(r"arr_(\d)")  # the names that savez gives to arrays without names
# In the order of numpy.savez(path, x_train, y_train, x_test, y_test).
_ORDER = ("x_train", "y_train", "x_test", "y_test", "x_validation", "y_validation")


@dataclass(frozen=True)
class Keys:
    """The names of a file's arrays by their roles.

    Attributes
    ----------
    arrays : dict of str to str
        For each of `KEYS` that the file has, the array's name in the file.
    class_names : str or None
        The name of the array that holds the names of the classes.
    notes : list of str
        What was inferred, for the user.
    """

    arrays: dict[str, str]
    class_names: str | None
    notes: list[str]

    @property
    def parts(self) -> list[str]:
        """The splits that the file has."""
        return [part for part in SPLITS if f"x_{part}" in self.arrays]

    @property
    def labelled(self) -> bool:
        """Whether the file has labels."""
        return any(key[0] == "y" for key in self.arrays)


def recognise(names: Sequence[str], where: object, need_labels: bool = True) -> Keys:
    """Return which arrays of a file are features and labels of which split.

    Parameters
    ----------
    names : sequence of str
        Names of all arrays, with ``/`` within groups.
    where : object
        The file, for messages.
    need_labels : bool
        Whether a file without any labels is refused.

    Raises
    ------
    DataError
        If features lack labels or the reverse, if two arrays could be the same one, or if
        there is no training set.
    """
    arrays: dict[str, str] = {}
    rest: list[str] = []
    for name in names:
        key = _key(name, len(names))
        if key is None:
            rest.append(name)
        elif key in arrays:
            raise DataError(
                f"{where}: arrays {arrays[key]!r} and {name!r} could both be {key}: keep one,"
                f" or name it {key}"
            )
        else:
            arrays[key] = name
    classes = next((name for name in rest if name.casefold() in _CLASS_NAMES), None)
    others = [name for name in rest if name != classes]
    notes = [f"{name} taken as {key}" for key, name in arrays.items() if name != key]
    notes += [f"array {', '.join(others)} left out"] if others else []
    keys = Keys(arrays, classes, notes)
    if need_labels or keys.labelled or "x_train" not in arrays:
        _require_pairs(arrays, rest, where)
    return keys


def _key(name: str, count: int) -> str | None:
    """Return ``x_train`` for ``X_train``, ``train_images``, ``training/data`` and similar names."""
    plain = _PLAIN.fullmatch(name)
    if plain:
        number = int(plain[1])
        return _ORDER[number] if number < len(_ORDER) and count <= len(_ORDER) else None
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).casefold()
    tokens = [word for word in re.split(r"[_/.\- ]+", words) if word]
    if len(tokens) == 1 and (joined := _JOINED.fullmatch(tokens[0])):
        tokens = [word for word in joined.groups() if word]
    axes = [_AXES[token] for token in tokens if token in _AXES]
    parts = [_PARTS[token] for token in tokens if token in _PARTS]
    if len(axes) != 1 or len(parts) > 1 or len(axes) + len(parts) != len(tokens):
        return None
    return f"{axes[0]}_{parts[0] if parts else 'train'}"


def _require_pairs(arrays: dict[str, str], rest: list[str], where: object) -> None:
    """Refuse features without labels, labels without features, and a missing training set."""
    for part in SPLITS:
        for key, other in ((f"x_{part}", f"y_{part}"), (f"y_{part}", f"x_{part}")):
            if (key in arrays or part == "train") and other not in arrays:
                present = ", ".join(repr(name) for name in [*arrays.values(), *rest][:20])
                hint = nearest(other, rest).replace("did you mean", "is it") if rest else ""
                raise DataError(
                    f"{where}: has no array {other} (it holds {present or 'nothing'}):"
                    f" expected {', '.join(KEYS)}; the first two are required{hint}"
                )
