"""HDF5 files that hold the same names as ``.npz``, each as a plain dataset of the file itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hpcpgd.data import checks, guard
from hpcpgd.data.assemble import Parts, check_keys
from hpcpgd.data.checks import Named
from hpcpgd.data.dataset import Array

if TYPE_CHECKING:
    import h5py


def read(path: Path) -> Parts:
    """Read ``x_train``, ``y_train`` and the optional other pairs.

    Returns
    -------
    mapping of str to (Named, Named)
        Features (rows, ...) and labels (rows,) or (rows, columns) of each split.

    Raises
    ------
    DataError
        If the file is missing, damaged, holds other names, or if a name leads elsewhere:
        soft and external links, virtual datasets, external storage.
    """
    import h5py  # slow

    from hpcpgd.data import contained

    guard.file_size(path)
    with guard.refuse_bad_file(path), h5py.File(path, "r") as file:
        keys = list(file)
        parts = check_keys(keys, path)
        datasets = {key: contained.dataset(file, key, f"{path}: {key}") for key in keys}
        for key, dataset in datasets.items():
            checks.numeric(dataset.dtype, f"{path}: {key}")
        guard.ensure_fits(sum(map(contained.nbytes, datasets.values())), path)
        arrays = {key: Named(_values(d), f"{path}: {key}") for key, d in datasets.items()}
    return {part: (arrays[f"x_{part}"], arrays[f"y_{part}"]) for part in parts}


def _values(dataset: h5py.Dataset) -> Array:
    values: Array = dataset[()]
    return values
