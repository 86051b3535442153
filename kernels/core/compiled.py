"""The one way in which this package compiles its loops.

By IEEE 754 to the letter: no sum is reordered, nothing is fused but what the code fuses
itself (see ``arithmetic``), NaN and Inf are never assumed away.  Division follows NumPy: a
check for zero in every loop would forbid vector instructions.  ``reassociated`` lets a sum
be vectorised; it is for sums whose bits nobody sees.

A compiled function that other compiled code calls is handed on as unoptimised LLVM IR.
Machine code is made once, of the function that Python calls with all that it calls.
numba's own way would optimise a function and make machine code of it again at each level
of the calls above it, with a wrapper for Python at each.
"""

from __future__ import annotations

import hashlib
import pickle
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import llvmlite
import numba
from llvmlite.binding import llvm_version_info
from numba.core import config, types
from numba.core.caching import NullCache
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, CompileResult, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.environment import lookup_environment
from numba.core.registry import CPUDispatcher
from numba.core.serialize import dumps
from numba.core.typed_passes import NativeLowering

from hpcpgd.kernels.core.kernel_files import DISK

ENVIRONMENT = "_ZN08NumbaEnv"  # how the symbol of a function's environment begins


# Passes for what no kernel has: closures, literals, with statements, inlined overloads.
UNUSED = (
    "WithLifting", "InlineClosureLikes", "MakeFunctionToJitFunction", "InlineInlinables",
    "FindLiterallyCalls", "LiteralUnroll", "LiteralPropagationSubPipelinePass",
    "InlineOverloads", "NopythonRewrites", "RewriteDynamicRaises", "DumpParforDiagnostics",
)  # fmt: skip


class _LinkedLibrary(JITCodeLibrary):
    """LLVM IR of a function that is only linked into others; never made machine code."""

    inline = True

    def add_ir_module(self, ir_module: Any) -> None:
        """Take in the function."""
        for function in ir_module.functions:
            if not (function.is_declaration or self.inline):
                function.attributes.add("noinline")
        super().add_ir_module(ir_module)

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        """Leave it to the module that this one is linked into."""

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


def _lower(run_pass: Callable[[Any], bool], state: Any) -> None:
    """Lower without counting references: kernels allocate nothing, they only make views.

    The counts for every view of every array would otherwise be a third of the code.  What
    does allocate (``np.zeros``, ``reshape``, an exception with values) fails to compile, with
    "NRT required but not enabled".
    """
    context = state.targetctx
    state.targetctx = context.subtarget(enable_nrt=False)
    try:
        run_pass(state)
    finally:
        state.targetctx = context


@register_pass(mutates_CFG=True, analysis_only=False)
class _LinkedLowering(NativeLowering):
    """Lower a function to LLVM IR and let other compiled code find it."""

    _name = "hpcpgd_linked_lowering"

    def run_pass(self, state: Any) -> bool:
        name = state.func_id.func_name

        def key() -> None:  # by which numba knows the function; it has no machine code
            raise TypeError(f"{name} is compiled for other compiled code")

        state.library = _LinkedLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.inline = getattr(state.func_id.func, "inline", True)
        state.flags.no_compile = True
        _lower(super().run_pass, state)
        state.targetctx.insert_user_function(key, state["cr"].fndesc, [state.library])
        state["cr"] = state["cr"]._replace(cfunc=key)
        return True


@register_pass(mutates_CFG=True, analysis_only=False)
class _EntryLowering(NativeLowering):
    """Compile a function with all that it calls.

    An exception that compiled code raises is looked up in the environment of its function.
    """

    _name = "hpcpgd_entry_lowering"

    def run_pass(self, state: Any) -> bool:
        _lower(super().run_pass, state)
        for symbol in state.library._final_module.global_variables:
            if symbol.name.startswith(ENVIRONMENT):
                environment = lookup_environment(symbol.name)
                if environment is not None:
                    state.library.codegen.set_env(symbol.name, environment)
        return True


def _pipeline(state: Any, lowering: type[NativeLowering]) -> list[Any]:
    passes = DefaultPassBuilder.define_nopython_pipeline(state)
    each = dict(passes.passes)  # branches are pruned again only after what is left out
    passes.passes = [
        (lowering if p is NativeLowering else p, text)
        for p, text in each.items()
        if p.__name__ not in UNUSED
    ]
    passes.finalize()
    return [passes]


class _LinkedCompiler(CompilerBase):
    def define_pipelines(self) -> list[Any]:
        return _pipeline(self.state, _LinkedLowering)


class _EntryCompiler(CompilerBase):
    def define_pipelines(self) -> list[Any]:
        return _pipeline(self.state, _EntryLowering)


class _Linked(CPUDispatcher):
    """What numba finds where compiled code calls a kernel."""

    def add_overload(self, cres: Any) -> None:
        """Keep a result, which Python cannot call."""
        self.overloads[tuple(cres.signature.args)] = cres


@cache
def _digest(path: str) -> str:
    """Return a hash of a source file, "" of one that is not there."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""


class _DiskCache(NullCache):
    """What a kernel asks for machine code before it compiles."""

    def __init__(self, function: Any, options: dict[str, Any]) -> None:
        self._name = f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}"
        # What is loaded imports its module by this name.
        self._module = function.__module__, _digest(function.__code__.co_filename)
        # Sorted: the order of a set differs between processes.
        self._options = sorted(
            (key, sorted(value) if key == "fastmath" else value) for key, value in options.items()
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled signature, or None."""
        target_context.refresh()  # what is loaded refers to what numba registers there
        payload = DISK.load(self._entry(sig, target_context.codegen()))
        if payload is None:
            return None
        return CompileResult._rebuild(target_context, *pickle.loads(payload))

    def save_overload(self, sig: Any, cres: Any) -> None:
        """Keep the compiled signature."""
        if cres.library.has_dynamic_globals:
            raise TypeError(f"{self._name} holds an address of this process")
        DISK.publish(self._entry(sig, cres.codegen), dumps(cres._reduce()))

    def _entry(self, sig: Any, codegen: Any) -> str:
        """Return the name of all that the machine code depends on but other kernels' sources."""
        settings = config.OPT, config.LOOP_VECTORIZE, config.SLP_VECTORIZE, config.BOUNDSCHECK
        versions = numba.__version__, llvmlite.__version__, llvm_version_info, sys.version
        facts = (self._module, sig, self._options, codegen.magic_tuple(), settings, versions)
        return f"{self._name}-{hashlib.sha256(repr(facts).encode()).hexdigest()[:32]}"


class Kernel(CPUDispatcher):
    """A compiled function: machine code where Python calls it, LLVM IR where kernels do.

    Attributes
    ----------
    linked : Dispatcher
        Compiles it for other compiled code.
    """

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        super().__init__(function, {}, options, _EntryCompiler)
        self._cache = _DiskCache(function, options)
        inner = {**options, "no_cpython_wrapper": True}
        self.linked = _Linked(function, {}, inner, _LinkedCompiler)

    @property
    def _numba_type_(self) -> Any:
        return types.Dispatcher(self.linked)


OPTIONS: dict[str, Any] = {
    "nopython": True,
    "nogil": True,
    "error_model": "numpy",
    "no_cfunc_wrapper": True,
}


def compiled(inline: bool = True) -> Callable[[Callable[..., Any]], Any]:
    """Return the decorator of compiled functions.

    Parameters
    ----------
    inline : bool
        False for the loops that take the time of a step: LLVM makes vector instructions of
        them reliably only where they stand alone, with nothing around them.
    """

    def decorate(function: Any) -> Kernel:
        function.inline = inline
        return Kernel(function, OPTIONS)

    return decorate


def reassociated() -> Callable[[Callable[..., Any]], Any]:
    """Return the decorator of compiled functions whose sums may be reordered."""
    return partial(Kernel, options={**OPTIONS, "fastmath": {"reassoc", "nsz"}})
