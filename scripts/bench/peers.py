"""Other libraries on the same step, each a program of another Python (``peer_programs``).

Network, initial weights, minibatches and rate are the same.  Peers get an advantage: before the
clock starts, their minibatches are float32 in the format of the library.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from hpcpgd.parallel import mpi
from scripts.bench.contestants import BF16_ERROR, Contestant
from scripts.bench.peer_files import RING_EXAMPLES
from scripts.bench.peer_process import PeerProcess
from scripts.bench.peer_runner import PeerRunner
from scripts.bench.placement import ONE_CORE, TWO_RANKS, TWO_THREADS, Cores, Placement
from scripts.bench.setting import Setting

PROGRAMS = Path(__file__).with_name("peer_programs")
JAX, EAGER, COMPILED = "JAX", "PyTorch eager", "PyTorch compile"
PYTENSOR, DDP, SCIKIT_LEARN = "PyTensor", "PyTorch DDP", "scikit-learn"
JAX_BF16, AUTOCAST, MEDIUM = "JAX bf16", "PyTorch autocast", "PyTorch medium"
NAMES = (JAX, PYTENSOR, EAGER, COMPILED, DDP, SCIKIT_LEARN, JAX_BF16, AUTOCAST, MEDIUM)
DATA = (
    f"peers take ready float32 minibatches in turn ({RING_EXAMPLES:,} examples, resident in their "
    "own format); hpcpgd gathers and scales uint8 rows in every step"
)
OTHER_LOSS = (
    "not the same step: it has no squared error, and minimises the binary cross-entropy of the "
    "sigmoid outputs; its gradient was compared with reference's for that loss"
)


@dataclass(frozen=True)
class Peer:
    """A peer program, its arguments and placements; the others are as in ``Contestant``."""

    name: str
    program: Path
    arguments: tuple[str, ...] = ()
    placements: tuple[Placement, ...] = (ONE_CORE, TWO_THREADS)
    loss: str = "mse"
    note: str = ""
    tolerance: float = Contestant.tolerance


PEERS = (
    Peer(JAX, PROGRAMS / "jax_jit.py"),
    Peer(PYTENSOR, PROGRAMS / "pytensor_mkl.py"),
    Peer(EAGER, PROGRAMS / "pytorch.py", ("eager",)),
    Peer(COMPILED, PROGRAMS / "pytorch.py", ("compile",)),
    Peer(DDP, PROGRAMS / "pytorch.py", ("ddp",), (TWO_RANKS,)),
    Peer(SCIKIT_LEARN, PROGRAMS / "scikit_learn.py", loss="cross-entropy", note=OTHER_LOSS),
)

# Products of bfloat16, for processors that have units for them.
TILED = (
    Peer(JAX_BF16, PROGRAMS / "jax_jit.py", ("bf16",), tolerance=BF16_ERROR),
    Peer(AUTOCAST, PROGRAMS / "pytorch.py", ("autocast",), tolerance=BF16_ERROR),
    Peer(MEDIUM, PROGRAMS / "pytorch.py", ("medium",), tolerance=BF16_ERROR),
)


@dataclass
class Peers:
    """The peer programs of this rank; ``start`` is collective.

    Attributes
    ----------
    comm : Comm
        Communicator of both ranks.
    python : str or None
        The interpreter that runs the programs; None for no programs.
    software : dict of str to str
        Library and version of each peer.
    left_out : dict of str to str
        Why a peer cannot run here.
    """

    comm: Any
    cores: Cores
    python: str | None
    peers: tuple[Peer, ...]
    software: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._processes: dict[tuple[str, Placement], PeerProcess] = {}
        self._folder = Path()
        self._temporary: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._processes.values():
            process.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def start(self) -> None:
        """Start the programs, all at once, and find out which libraries are installed.

        Raises
        ------
        UnavailableError
            On every rank, if a program cannot be started or fails.
        """
        if self.python is None:
            return
        folder = b""
        if self.comm.rank == 0:
            self._temporary = tempfile.TemporaryDirectory(prefix="hpcpgd-bench-")
            folder = self._temporary.name.encode()
        self._folder = Path(mpi.bcast_bytes(self.comm, folder).decode())
        answers: dict[str, dict[str, str]] = {}
        with mpi.agreed(self.comm):
            for peer, placement in self._places():
                self._start(peer, placement, self.python)
        with mpi.agreed(self.comm):
            for (name, _), process in self._processes.items():
                answers[name] = process.wait()
        all_answers = json.loads(mpi.bcast_bytes(self.comm, json.dumps(answers).encode()))
        for name, answer in all_answers.items():
            if "missing" in answer:
                self.left_out[name] = answer["missing"]
            else:
                self.software[name] = answer["software"]

    def entries(self) -> list[tuple[Contestant, Placement]]:
        """Return the contestants that can be timed, with their placements."""
        return [
            (self._contestant(peer, placement), placement)
            for peer, placement in self._places()
            if peer.name in self.software
        ]

    def _places(self) -> list[tuple[Peer, Placement]]:
        return [(peer, placement) for peer in self.peers for placement in peer.placements]

    def _start(self, peer: Peer, placement: Placement, python: str) -> None:
        rank = self.comm.rank
        if rank >= placement.ranks:
            return
        command = [python, str(peer.program), *peer.arguments]
        with self.cores.used_by(placement):
            process = PeerProcess(f"{peer.name}, {placement.label}", command, placement.threads)
        self._processes[peer.name, placement] = process
        store = str(self._folder / f"{peer.name}.store")
        process.post(
            op="open", threads=placement.threads, rank=rank, ranks=placement.ranks, store=store
        )

    def _contestant(self, peer: Peer, placement: Placement) -> Contestant:
        def make(setting: Setting, threads: int) -> PeerRunner:
            return PeerRunner(self._processes[peer.name, placement], self._folder, setting)

        return Contestant(peer.name, make, peer.loss, peer.note, tolerance=peer.tolerance)
