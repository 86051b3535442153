# For other scripts to source: creates the virtual environment .venv with hpcpgd and PyPI's MPICH.
# Usage: make_environment EXTRAS

find_python() {
    local candidate
    for candidate in python3.11 python3.12 python3.13 python3.14 python3 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "hpcpgd needs Python 3.11 or newer; none was found in PATH" >&2
    return 1
}

make_environment() {
    local python
    if [ ! -x .venv/bin/python ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        python=$(find_python) || return 1
        if ! "$python" -m venv --clear .venv; then
            echo "$python cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2
            return 1
        fi
    fi
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$1]"
    # From now on, mpiexec and python are those of the environment, also in child processes.
    PATH="$PWD/.venv/bin:$PATH"
    export PATH
}
