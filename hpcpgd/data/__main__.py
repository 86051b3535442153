"""``python -m hpcpgd.data``."""

import sys

from hpcpgd.data.cli import main

if __name__ == "__main__":
    sys.exit(main())
