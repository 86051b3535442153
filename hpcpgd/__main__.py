"""``python -m hpcpgd``: the console command."""

import sys

from hpcpgd.cli import main

sys.exit(main())
