"""The phases of a step that are timed, by name and number.  Files are read without MPI by them."""

PHASES = ("data", "compute", "reduce", "wait", "update")
DATA, COMPUTE, REDUCE, WAIT, UPDATE = range(5)
