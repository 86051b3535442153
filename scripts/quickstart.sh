#!/usr/bin/env bash
# Install hpcpgd into .venv and train Net-1h on the bundled digits with 2 ranks.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh

echo "installing into $PWD/.venv ..."
make_environment mpich,data,report  # also the extras for the next steps of the README
mpiexec -n 2 python -m hpcpgd.train \
    --network net-1h --batch-size 8 --learning-rate 0.1 --epochs 60
echo "to continue:  source .venv/bin/activate"
