"""``python -m hpcpgd.train``."""

import sys

from hpcpgd.train.cli import main

if __name__ == "__main__":
    sys.exit(main())
