"""Datasets: finding them, reading untrusted files, and splitting them.

``load`` reads the files of a dataset, ``prepare`` splits the dataset for one training run.
May import ``cli``, ``environment`` and ``kernels.core``; no MPI.
"""

from hpcpgd.data.dataset import Dataset, RawData, Split
from hpcpgd.data.load import check_name, load, path_of
from hpcpgd.data.prepare import prepare

__all__ = ["Dataset", "RawData", "Split", "check_name", "load", "path_of", "prepare"]
