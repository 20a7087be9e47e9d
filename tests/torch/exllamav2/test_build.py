"""`weft engine build` with a real compiler, ninja and torch's own loader, and a library of two small units."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from weft_worker.engines.exllama.build import Request, build, main, read_progress
from weft_worker.engines.exllama.extension import Extension, find_built
from weft_worker.engines.exllama.toolkit import CannotBuild, search_path

pytestmark = pytest.mark.torch
LIBRARY = Extension("small_library", "small_library_ext")
# No torch in it, which would take a minute to read.
_MODULE = """
#include <Python.h>
int answer();
static PyObject* told(PyObject*, PyObject*) { return PyLong_FromLong(answer()); }
static PyMethodDef methods[] = {{"told", told, METH_NOARGS, ""}, {nullptr, nullptr, 0, nullptr}};
static PyModuleDef module = {PyModuleDef_HEAD_INIT, "small_library_ext", "", -1, methods};
PyMODINIT_FUNC PyInit_small_library_ext() { return PyModule_Create(&module); }
"""
_LOADER = """
from pathlib import Path
from torch.utils.cpp_extension import load
here = Path(__file__).parent
load(name="small_library_ext", sources=[str(here / "module.cpp"), str(here / "answer.cpp")])
"""


@pytest.fixture(autouse=True)
def no_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the one in Python that other tests of this process put in the place of the compiled one."""
    monkeypatch.delitem(sys.modules, "exllamav2_ext", raising=False)


@pytest.fixture
def request_of_two_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    """A library as exllamav2 is one: it compiles when its module `ext` is imported."""
    site = tmp_path / "site"
    package = site / LIBRARY.package
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "ext.py").write_text(_LOADER)
    (package / "module.cpp").write_text(_MODULE)
    (package / "answer.cpp").write_text("int answer() { return 42; }\n")
    metadata = site / f"{LIBRARY.package}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {LIBRARY.package}\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    return Request(LIBRARY, tmp_path / "extensions", frozenset({"9.0"}), 1)


def test_a_build_tells_its_progress_and_is_found_afterwards(
    request_of_two_units: Request, capsys: pytest.CaptureFixture[str]
) -> None:
    stale = request_of_two_units.folder / LIBRARY.module / "lock"
    stale.parent.mkdir(parents=True)
    stale.write_text("of a build that was killed")
    build(request_of_two_units, {})
    told = capsys.readouterr().out.splitlines()
    assert told[-2].startswith("2 of 2 units compiled, 0:")
    assert told[-1].startswith("built ")
    folder = find_built(LIBRARY, request_of_two_units.root, {"9.0"})
    assert folder is not None
    assert not list(folder.glob("*.o"))
    code = f"import sys; sys.path.append({str(folder)!r}); import small_library_ext as m; print(m.told())"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "42\n"


def test_a_build_that_fails_tells_what_the_compiler_said(
    request_of_two_units: Request, tmp_path: Path
) -> None:
    (tmp_path / "site" / LIBRARY.package / "answer.cpp").write_text("int answer() { return forty_two; }\n")
    with pytest.raises(CannotBuild, match=r"build\.log[\s\S]*forty_two"):
        build(request_of_two_units, {})
    assert find_built(LIBRARY, request_of_two_units.root) is None
    assert read_progress(request_of_two_units.folder / LIBRARY.module).total == 2


_INTERRUPTED = """
import os, sys
from pathlib import Path
from weft_worker.engines.exllama.build import Request, build, end_in_order
from weft_worker.engines.exllama.extension import Extension
end_in_order()
extension = Extension("small_library", "small_library_ext")
build(Request(extension, Path(sys.argv[1]), frozenset({"9.0"}), 1), {}, int(os.environ["RUNS"]))
"""


def test_a_build_that_is_ended_leaves_no_compiler_behind(
    request_of_two_units: Request, tmp_path: Path
) -> None:
    """The compiler never comes to its end; it has the file of the lock, here a pipe, which ends when all have gone."""
    reading, writing = os.pipe()
    ext = tmp_path / "site" / LIBRARY.package / "ext.py"
    ext.write_text("import os, time\nos.write(int(os.environ['RUNS']), b'x')\ntime.sleep(600)\n")
    command = [sys.executable, "-c", _INTERRUPTED, str(request_of_two_units.root)]
    environment = {**os.environ, "RUNS": str(writing)}
    builder = subprocess.Popen(command, env=environment, pass_fds=(writing,), stdout=subprocess.PIPE)
    os.close(writing)
    with builder, os.fdopen(reading, "rb") as pipe:
        assert pipe.read(1) == b"x"
        builder.terminate()
        assert builder.wait(20) == 128 + 15
        assert pipe.read() == b""


def test_progress_is_what_ninja_has_done(tmp_path: Path) -> None:
    assert read_progress(tmp_path).total == 0
    rules = "rule compile\n  command = cp $in $out\nrule link\n  command = cat $in > $out\n"
    (tmp_path / "a.cpp").write_text("")
    units = "".join(f"build {name}.o: compile a.cpp\n" for name in "abc")
    (tmp_path / "build.ninja").write_text(f"{rules}{units}build all.so: link a.o b.o c.o\n")
    told = []
    for target in ("a.o", "b.o", "all.so"):
        subprocess.run(
            ["ninja", target], cwd=tmp_path, check=True, env={"PATH": search_path()}, capture_output=True
        )
        progress = read_progress(tmp_path)
        told.append((progress.done, progress.total))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_torch_without_cuda_builds_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    if torch.version.cuda:
        pytest.skip("this torch is made with CUDA")
    assert main(["exllamav2", "--arch", "9.0"]) == 1
    assert "is made without CUDA" in capsys.readouterr().err


def test_what_is_no_capability_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["exllamav2", "--arch", "sm_90"]) == 1
    assert "sm_90 is no compute capability" in capsys.readouterr().err
