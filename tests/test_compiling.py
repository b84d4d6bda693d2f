"""When the kernels are compiled and where they are kept; with Numba missing, old or broken, and its cache cold."""

from __future__ import annotations

import gc
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

import minidl
from minidl.backend import backend_for
from minidl.backend.cpu.compiled import fast_kernels
from tests.processes import python

cpu = backend_for("cpu")
compiled = pytest.mark.skipif(fast_kernels() is None, reason="no compiled kernels here")
PACKAGE = Path(minidl.__file__).parent

STEP = """
import sys, time
import numpy as np
import minidl
from minidl import nn
from minidl.nn import functional as F
minidl.manual_seed(0)
model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 10))
loss = F.cross_entropy(model(minidl.randn(8, 3, 8, 8)), minidl.randint(0, 10, (8,)))
loss.backward()
print(f"{loss.item():.5f}")
minidl.show_config()
"""


def run(code: str, path: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    lead = f"import sys; sys.path.insert(0, {str(path)!r})\n" if path else ""
    return python(lead + code, 300, **environment)


EXPECTED: list[str] = []


def usual_loss() -> str:
    if not EXPECTED:
        EXPECTED.append(run(STEP).stdout.split()[0])
    return EXPECTED[0]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (
            "raise ImportError('No module named numba', name='numba')",
            "Numba is not installed (pip install 'minidl[fast]')",
        ),
        ("__version__ = '0.43.1'", "Numba 0.43.1 is too old, 0.61 is needed"),
        ("raise OSError('libLLVM is gone')", "Numba cannot be imported (OSError: libLLVM is gone)"),
        ("__version__ = '0.70.0'\nclass config: DISABLE_JIT = 0", "Numba 0.70.0 cannot compile here"),
    ],
)
def test_without_a_numba_that_works_numpy_serves_and_says_so_when_asked(
    source: str, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "numba.py").write_text(source)
    done = run(STEP, tmp_path)
    assert done.stderr == ""  # not unasked
    assert abs(float(done.stdout.split()[0]) - float(usual_loss())) < 1e-4
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("compiled kernels")]
    assert "off: " in line and reason in line


def test_the_switch_turns_the_compiled_kernels_off() -> None:
    assert "off: MINIDL_FAST=0" in run(STEP, MINIDL_FAST="0").stdout


@compiled
def test_a_cold_cache_is_announced_once_and_a_warm_one_is_silent(tmp_path: Path) -> None:
    cold = run(STEP, NUMBA_CACHE_DIR=str(tmp_path))
    assert cold.stderr.count("minidl: compiling kernels") == 1 == len(cold.stderr.splitlines())
    assert list(tmp_path.rglob("*.nbc"))
    assert run(STEP, NUMBA_CACHE_DIR=str(tmp_path)).stderr == ""


ONE_PIECE = """
import itertools
import numpy as np
from numba.core.bytecode import FunctionIdentity
from minidl.backend import backend_for
from minidl.backend.cpu.compiled import fast_kernels
fast_kernels()
cpu, x = backend_for("cpu"), np.linspace(-3, 3, 5000, dtype=np.float32)
assert hasattr(FunctionIdentity, "_unique_ids")
FunctionIdentity._unique_ids = itertools.count(1000)  # as if both processes had compiled as many functions before
"""


@compiled
def test_pieces_that_two_processes_compiled_are_not_taken_for_each_other(tmp_path: Path) -> None:
    """Both kernels have a body made by ``elementwise.each``, with arguments of the same types."""
    environment = {"NUMBA_CACHE_DIR": str(tmp_path), "MINIDL_COMPILE_AHEAD": "0"}
    run(ONE_PIECE + "cpu.relu(x)", **environment)
    run(ONE_PIECE + "cpu.sigmoid(x)", **environment)
    both = "print(np.abs(cpu.relu(x) - np.maximum(x, 0)).max(), np.abs(cpu.sigmoid(x) - 1 / (1 + np.exp(-x))).max())"
    assert all(float(error) < 1e-6 for error in run(ONE_PIECE + both, **environment).stdout.split())


@compiled
def test_machine_code_from_disk_needs_no_compiler(tmp_path: Path) -> None:
    """What Numba knows of Python and NumPy takes half a second to import: it is only needed to compile."""
    code = ONE_PIECE + "print('numba.np.arraymath' in __import__('sys').modules, cpu.relu(x).sum() > 0)"
    environment = {"NUMBA_CACHE_DIR": str(tmp_path), "MINIDL_COMPILE_AHEAD": "0"}
    assert run(code, **environment).stdout.split() == ["True", "True"]
    assert run(code, **environment).stdout.split() == ["False", "True"]


@compiled
@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_rests_while_a_kernel_is_compiled(enabled: bool) -> None:
    """And then does as before, also if the compiler fails."""
    import numba
    from numba.core import event

    class Listener(event.Listener):
        seen: ClassVar[list[bool]] = []

        def on_start(self, event: Any) -> None:
            self.seen.append(gc.isenabled())

        def on_end(self, event: Any) -> None:
            pass

    listener = Listener()
    event.register("numba:compile", listener)
    try:
        if not enabled:
            gc.disable()
        piece = numba.njit(lambda x: x + 1)
        assert numba.njit(lambda x: piece(x) * 2)(1) == 4
        assert gc.isenabled() == enabled
        with pytest.raises(numba.TypingError):
            numba.njit(lambda x: x.nothing_of_that_name)(1)
        assert gc.isenabled() == enabled
    finally:
        gc.enable()
        event.unregister("numba:compile", listener)
    assert listener.seen == [False] * 3


@compiled
def test_what_kernels_call_by_name_is_compiled_anew_when_any_file_changes() -> None:
    """Numba itself would only ask for the file that it stands in, and not for those that it is made of."""
    from minidl.backend.cpu.fast import jit

    assert len(jit._kept) >= 3
    for compiled in jit._kept:
        assert compiled._cache._cache_file._source_stamp == jit._STAMP


@compiled
def test_a_piece_needs_a_name_of_its_own() -> None:
    from minidl.backend.cpu.fast.jit import inner

    def twice(k: int) -> Any:
        return inner(lambda x: k * x, str(k))

    twice(2), twice(3)
    with pytest.raises(ValueError, match="there is a piece .*<lambda>_3 already"):
        twice(3)


RESNET_STEP = """
from numba.core import event
class Listener(event.Listener):
    depth = 0
    def on_start(self, event):
        self.depth += 1
        if self.depth == 1:
            print(event.data["dispatcher"].py_func.__name__)
    def on_end(self, event):
        self.depth -= 1
event.register("numba:compile", Listener())
from benchmarks.worker import make_step
make_step("minidl", "ResNet-20", "train")()
"""


@compiled
def test_a_second_process_compiles_what_the_first_one_needs_last(tmp_path: Path) -> None:
    environment = {"NUMBA_CACHE_DIR": str(tmp_path), "MINIDL_COMPILE_AHEAD": "0"}
    run("import runpy; runpy.run_module('minidl.backend.cpu.ahead', run_name='__main__')", **environment)
    here = run(RESNET_STEP, Path(__file__).parents[1], **environment).stdout.split()
    # All else was there, and no more than that.
    assert here == ["turn", "direct_conv", "normalize_batch", "relu", "add"]


@compiled
def test_the_second_process_is_started_where_it_helps_and_ends_with_the_first(tmp_path: Path) -> None:
    code = """
from minidl.backend.cpu import ahead, compiled
started = []
start = ahead.start
ahead.start = lambda: started.append(start())
compiled.fast_kernels()
process = started[0] if started else None
print("no" if process is None else process.pid, process is None or process.poll())
"""
    cold = {"NUMBA_CACHE_DIR": str(tmp_path)}
    assert run(code, **cold, MINIDL_COMPILE_AHEAD="0").stdout.split()[0] == "no"
    if len(os.sched_getaffinity(0)) > 1 if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1) > 1:
        pid, state = run(code, **cold, MINIDL_COMPILE_AHEAD="1").stdout.split()
        assert pid.isdecimal() and state == "None"  # it was running …
        if os.name == "posix":
            with pytest.raises(ProcessLookupError):  # … and is no more
                os.kill(int(pid), 0)
    assert run(code, MINIDL_COMPILE_AHEAD="1").stdout.split()[0] == "no" or not warm()


def warm() -> bool:
    """Whether this installation has compiled an optimizer's kernel, so that nothing needs to be compiled ahead."""
    fast = fast_kernels()
    return fast is not None and fast.is_kept(fast.sgd_update)


@compiled
def test_a_change_in_any_file_compiles_again_what_holds_its_code(tmp_path: Path) -> None:
    """The kernel is in ``norm.py``, the change in ``team.py``, whose code the kernel contains."""
    site, environment = tmp_path / "site", {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "MINIDL_COMPILE_AHEAD": "0"}
    shutil.copytree(PACKAGE, site / "minidl", ignore=shutil.ignore_patterns("__pycache__"))
    code = """
import numpy as np
from minidl.backend import backend_for
x, one = np.ones((60, 20), np.float32), np.ones((1, 20), np.float32)
backend_for("cpu").normalize_batch(x, one, one, (0,), 1e-5)
"""
    assert "compiling" in run(code, site, **environment).stderr
    assert run(code, site, **environment).stderr == ""
    changed = site / "minidl" / "backend" / "cpu" / "fast" / "team.py"
    changed.write_text(changed.read_text() + "\n# changed\n")
    assert "compiling" in run(code, site, **environment).stderr


@compiled
def test_a_numba_that_is_not_known_yet_compiles_pieces_by_itself(tmp_path: Path) -> None:
    """Ours are linked without machine code of their own, which takes less time, and knows Numba's inside."""
    code = """
import numba, numpy as np
if {unknown}: numba.version_info = numba.version_info._replace(short=(99, 0))
from minidl.backend.cpu.fast import elementwise, jit
from minidl.backend.cpu.threads import team
x = np.arange(-3, 4, dtype=np.float32)
elementwise.relu(team(len(x)), x, x)
print(x.tolist(), "pipeline_class" in jit._PIECES)
(piece,) = elementwise.above_zero.overloads.values()
print(bool(piece.library._codegen._engine.is_symbol_defined(piece.fndesc.llvm_func_name)))
"""
    for unknown in False, True:
        environment = {"NUMBA_CACHE_DIR": str(tmp_path / str(unknown)), "MINIDL_COMPILE_AHEAD": "0"}
        done = run(code.format(unknown=unknown), **environment)
        assert done.stdout.split("\n")[:2] == [f"[0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0] {not unknown}", str(unknown)]


@compiled
def test_processes_that_fill_the_cache_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "MINIDL_COMPILE_AHEAD": "0"}
    code = ONE_PIECE + "print(cpu.relu(x).sum(), cpu.sigmoid(x).sum(), cpu.add(x, x).sum())"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for process in processes:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert out == run(code).stdout
    assert run(code, NUMBA_CACHE_DIR=str(tmp_path)).stderr == ""


@compiled
@pytest.mark.skipif(sys.platform == "win32", reason="folders are made read-only otherwise on Windows")
def test_a_read_only_installation_keeps_its_cache_with_the_user(tmp_path: Path) -> None:
    """As root every folder can be written, so the copy's ``__pycache__`` is a file there: no cache fits beside the source."""
    site, home = tmp_path / "site", tmp_path / "home"
    shutil.copytree(PACKAGE, site / "minidl", ignore=shutil.ignore_patterns("__pycache__"))
    home.mkdir()
    blocked = [path for path in site.rglob("*") if path.is_dir()]
    for folder in blocked:
        (folder / "__pycache__").write_text("")
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    environment = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"MINIDL_COMPILE_AHEAD": "0"}
    try:
        code = ONE_PIECE + "print(cpu.relu(x).sum())"
        first = run(code, site, **environment)
        assert "compiling" in first.stderr and first.stdout == run(code).stdout
        assert run(code, site, **environment).stderr == ""
        assert list(home.rglob("*.nbc"))
    finally:
        for folder in blocked:
            folder.chmod(stat.S_IRWXU)
