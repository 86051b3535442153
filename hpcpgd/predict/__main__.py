"""``python -m hpcpgd.predict``."""

import sys

from hpcpgd.predict.cli import main

if __name__ == "__main__":
    sys.exit(main())
