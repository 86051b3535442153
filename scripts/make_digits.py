"""Create hpcpgd/data/digits.npz from scikit-learn's copy of the UCI digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

TARGET = Path(__file__).parents[1] / "hpcpgd" / "data" / "digits.npz"


def main() -> None:
    images, labels = load_digits(return_X_y=True)
    np.savez_compressed(TARGET, images=images.astype(np.uint8), labels=labels.astype(np.uint8))


if __name__ == "__main__":
    main()
