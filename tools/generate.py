"""Generate weft_proto and Envoy's descriptor set from the protos; `--check` fails where the committed files differ."""

import argparse
import filecmp
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OURS = re.compile(r"^(from|import) weft\.", re.MULTILINE)


def run(*command: str, cwd: Path = ROOT) -> None:
    """Run a tool of the virtual environment; its failure is ours."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(command, cwd=cwd, check=True, env={**os.environ, "PATH": path})


def generate(out: Path) -> None:
    """Write everything that is generated below `out`, a folder shaped like the repository root."""
    package = out / "proto/gen/weft_proto"
    shutil.rmtree(package, ignore_errors=True)
    package.mkdir(parents=True)
    # The generator keeps folders that exist, so `clean: true` in buf.gen.yaml would not reach a temporary folder.
    run("buf", "generate", "-o", str(out))
    for file in (package / "pb").rglob("*_pb2.py*"):
        file.write_text(OURS.sub(r"\1 weft_proto.pb.weft.", file.read_text()))
    for folder in [package / "pb", *(p for p in (package / "pb").rglob("*") if p.is_dir())]:
        (folder / "__init__.py").write_text("")
    (package / "py.typed").write_text("")
    descriptors = package / "descriptors.binpb"
    run("buf", "build", "--exclude-source-info", "--as-file-descriptor-set", "-o", str(descriptors))


def differences(left: Path, right: Path) -> list[str]:
    """Name every generated file that is missing, superfluous or other on one side."""

    def files(top: Path) -> set[Path]:
        return {p.relative_to(top) for p in top.rglob("*") if p.is_file() and "__pycache__" not in p.parts}

    odd = files(left) ^ files(right)
    both = files(left) & files(right)
    return sorted(
        str(p) for p in odd | {p for p in both if not filecmp.cmp(left / p, right / p, shallow=False)}
    )


def check() -> int:
    """Compare what the protos say with what is committed."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        drift = differences(Path(folder) / "proto/gen", ROOT / "proto/gen")
    for name in drift:
        print(f"drift: proto/gen/{name} (run `make gen`)")
    return 1 if drift else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        return check()
    generate(ROOT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
