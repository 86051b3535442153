"""``python -m hpcpgd.compile``."""

import sys

from hpcpgd.compile.cli import main

if __name__ == "__main__":
    sys.exit(main())
