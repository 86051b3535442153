"""How this package compiles its loops.

Strictly by IEEE 754: no sum is reordered, no product is fused unless the code calls ``fma``
(see ``arithmetic``), and NaN and Inf are expected everywhere.  Division by zero follows NumPy: a
check for zero in every loop would prevent vector instructions.  ``reassociated`` allows a sum
to be reordered and so vectorised; it is for sums of which only "finite or not" is used.

A compiled function that other compiled code calls is kept as unoptimised LLVM IR.  A function
that Python calls is compiled to machine code once, together with all functions that it calls.
numba's default would optimise and compile each function again at every level of calls, with
a wrapper for Python at each level.
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

ENVIRONMENT = "_ZN08NumbaEnv"  # prefix of the symbol of a function's environment


# Passes for features that no kernel uses: closures, literals, with statements, inlined overloads.
UNUSED = (
    "WithLifting", "InlineClosureLikes", "MakeFunctionToJitFunction", "InlineInlinables",
    "FindLiterallyCalls", "LiteralUnroll", "LiteralPropagationSubPipelinePass",
    "InlineOverloads", "NopythonRewrites", "RewriteDynamicRaises", "DumpParforDiagnostics",
)  # fmt: skip


class _LinkedLibrary(JITCodeLibrary):
    """LLVM IR of a function that is only linked into others, without machine code."""

    inline = True

    def add_ir_module(self, ir_module: Any) -> None:
        """Add the function's module."""
        for function in ir_module.functions:
            if not (function.is_declaration or self.inline):
                function.attributes.add("noinline")
        super().add_ir_module(ir_module)

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        """Do nothing: the module that this one is linked into is optimised."""

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


def _lower(run_pass: Callable[[Any], bool], state: Any) -> None:
    """Lower without reference counts: kernels allocate nothing, they only make views.

    Otherwise a third of the code would count references to views.  Code that allocates
    (``np.zeros``, ``reshape``, an exception with values) fails to compile, with
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
    """Lower a function to LLVM IR and register it for other compiled code."""

    _name = "hpcpgd_linked_lowering"

    def run_pass(self, state: Any) -> bool:
        name = state.func_id.func_name

        def key() -> None:  # numba's key for the function, which has no machine code
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
    """Compile a function with all functions that it calls.

    Their environments are registered: an exception of compiled code is looked up there.
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
    each = dict(passes.passes)  # once each: a pass is repeated only after passes in UNUSED
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
    """The dispatcher of a kernel for calls from compiled code."""

    def add_overload(self, cres: Any) -> None:
        """Keep a compiled signature, which Python cannot call."""
        self.overloads[tuple(cres.signature.args)] = cres


@cache
def _digest(path: str) -> str:
    """Return the SHA-256 of a source file, "" if it cannot be read."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""


class _DiskCache(NullCache):
    """The cache that a kernel asks for machine code before it compiles."""

    def __init__(self, function: Any, options: dict[str, Any]) -> None:
        self._name = f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}"
        # By this name, code that is loaded from the cache imports its module.
        self._module = function.__module__, _digest(function.__code__.co_filename)
        # Sorted: the order of a set differs between processes.
        self._options = sorted(
            (key, sorted(value) if key == "fastmath" else value) for key, value in options.items()
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled signature, or None if it must be compiled."""
        target_context.refresh()  # registers what the loaded code refers to
        payload = DISK.load(self._entry(sig, target_context.codegen()))
        if payload is None:
            return None
        return CompileResult._rebuild(target_context, *pickle.loads(payload))

    def save_overload(self, sig: Any, cres: Any) -> None:
        """Write the compiled signature to the cache."""
        if cres.library.has_dynamic_globals:
            raise TypeError(f"{self._name} holds an address of this process")
        DISK.publish(self._entry(sig, cres.codegen), dumps(cres._reduce()))

    def _entry(self, sig: Any, codegen: Any) -> str:
        """Return a name that depends on all that determines the code but other kernels' sources."""
        settings = config.OPT, config.LOOP_VECTORIZE, config.SLP_VECTORIZE, config.BOUNDSCHECK
        versions = numba.__version__, llvmlite.__version__, llvm_version_info, sys.version
        key = (self._module, sig, self._options, codegen.magic_tuple(), settings, versions)
        return f"{self._name}-{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}"


class Kernel(CPUDispatcher):
    """A compiled function: machine code for calls from Python, LLVM IR for calls from kernels.

    Attributes
    ----------
    linked : Dispatcher
        Compiles the function for other compiled code.
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
        False for the loops that take most of the time of a step: LLVM vectorises them
        reliably only in a function that contains nothing else.
    """

    def decorate(function: Any) -> Kernel:
        function.inline = inline
        return Kernel(function, OPTIONS)

    return decorate


def reassociated() -> Callable[[Callable[..., Any]], Any]:
    """Return the decorator of compiled functions whose sums may be reordered."""
    return partial(Kernel, options={**OPTIONS, "fastmath": {"reassoc", "nsz"}})
