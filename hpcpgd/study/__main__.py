"""``python -m hpcpgd.study``."""

import sys

from hpcpgd.study.cli import main

if __name__ == "__main__":
    sys.exit(main())
