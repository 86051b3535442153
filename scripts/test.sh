#!/usr/bin/env bash
# Install hpcpgd into .venv and run the checks and the tests; arguments go to pytest.
# --all adds the long tests, which CONTRIBUTING.md describes; --coverage prints which lines the
# tests have run.  $HPCPGD_TEST_EXTRAS names further extras, such as gpu13 for a machine with a GPU.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh

echo "installing into $PWD/.venv ..."
make_environment "mpich,dev${HPCPGD_TEST_EXTRAS:+,$HPCPGD_TEST_EXTRAS}"
ruff check .
ruff format --check .
mypy
# Hundreds of jobs load the same modules, and cached bytecode saves a tenth of their time.
unset PYTHONDONTWRITEBYTECODE
arguments=()
for word in "$@"; do
    if [ "$word" = --coverage ]; then
        arguments+=(--cov=hpcpgd --cov-report=term:skip-covered)
    else
        arguments+=("$word")
    fi
done
# Most tests wait for jobs that use one core: run two files of tests at a time, the slowest first.
exec python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=30 \
    ${arguments[@]+"${arguments[@]}"}
