#!/usr/bin/env bash
# Install hpcpgd into .venv and run the checks and the tests; arguments go to pytest.
# --all adds the long tests, of which CONTRIBUTING.md says what they are; --coverage prints which
# lines the tests have run.
# $HPCPGD_TEST_EXTRAS names further extras, such as gpu13 where there is a GPU.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh

echo "installing into $PWD/.venv ..."
make_environment "mpich,dev${HPCPGD_TEST_EXTRAS:+,$HPCPGD_TEST_EXTRAS}"
ruff check .
ruff format --check .
mypy
# Hundreds of jobs load the same modules: a tenth of their time goes if bytecode is kept.
unset PYTHONDONTWRITEBYTECODE
arguments=()
for word in "$@"; do
    if [ "$word" = --coverage ]; then
        arguments+=(--cov=hpcpgd --cov-report=term:skip-covered)
    else
        arguments+=("$word")
    fi
done
# Most tests wait for jobs that use one core: two at a time, whole files, the slowest first.
exec python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=30 \
    ${arguments[@]+"${arguments[@]}"}
