#!/usr/bin/env bash
# Build the manual into docs/built.  Warnings are errors.  Arguments go to sphinx-build.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh

make_environment "mpich,report,sklearn,docs"
python -m sphinx -W --keep-going -q -b html docs docs/built "$@"
echo "the manual: $PWD/docs/built/index.html"
