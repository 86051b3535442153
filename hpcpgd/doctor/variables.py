"""Environment variables that are ignored or that slow the program down."""

from __future__ import annotations

from collections.abc import Mapping

from hpcpgd.doctor.finding import Finding, ok, problem, warning
from hpcpgd.errors import HpcpgdError

SUBJECT = "threads"
THREADS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"),
    *("VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS"),
)
# Variables that make numba compile slow code, each with its harmless value.
SLOW = {
    "NUMBA_OPT": "3", "NUMBA_CPU_NAME": "", "NUMBA_CPU_FEATURES": "", "NUMBA_BOUNDSCHECK": "0",
    "NUMBA_ENABLE_AVX": "1", "NUMBA_LOOP_VECTORIZE": "1", "NUMBA_DEBUGINFO": "0",
}  # fmt: skip


def judge(environ: Mapping[str, str], threads: int) -> list[Finding]:
    """Judge the variables; ``--threads auto`` takes at most ``threads``."""
    findings = [_threads(environ, threads)]
    if environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        seen = "NUMBA_DISABLE_JIT is set: the kernels of most backends do not work uncompiled"
        code = HpcpgdError.exit_code
        findings.append(problem("compiler", seen, "unset NUMBA_DISABLE_JIT", code))
    slow = [name for name, harmless in SLOW.items() if environ.get(name, "") not in ("", harmless)]
    if slow:
        shown = ", ".join(f"{name}={environ[name]}" for name in slow)
        seen = f"{shown}: compiled loops may be several times slower, and are compiled again"
        findings.append(warning("compiler", seen, f"unset {' '.join(slow)}"))
    return findings


def _threads(environ: Mapping[str, str], threads: int) -> Finding:
    """Return that ``--threads`` sets the number of threads, and that variables do not."""
    given = [name for name in THREADS if environ.get(name)]
    rule = f"--threads auto gives a rank {'up to ' * (threads > 1)}{threads}"
    if not given:
        return ok(SUBJECT, rule)
    shown = f"{', '.join(f'{name}={environ[name]}' for name in given)}: ignored; {rule}"
    other = [name for name in given if environ[name] != str(threads)]
    if not other:
        return ok(SUBJECT, shown)
    return warning(SUBJECT, shown, "give train --threads N if you want another number")
