"""``python -m hpcpgd.compare``."""

import sys

from hpcpgd.compare.cli import main

if __name__ == "__main__":
    sys.exit(main())
