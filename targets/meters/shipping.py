"""The meters' code as a zip file, and how to run it where nothing of hwnas is installed."""

from __future__ import annotations

import io
import zipfile
from functools import cache
from pathlib import Path

BOOTSTRAP = (
    "import os,sys,tempfile\n"
    "n=int(sys.stdin.buffer.readline())\n"
    "with tempfile.TemporaryDirectory(prefix='hwnas-meters-') as folder:\n"
    "    path=os.path.join(folder,'meters.zip')\n"
    "    with open(path,'wb') as file: file.write(sys.stdin.buffer.read(n))\n"
    "    sys.path.insert(0,path)\n"
    "    from targets.meters.agent import main\n"
    "    main()\n"
)
"""Python code: reads the size of a zip file, then the file, and runs the agent in it."""


@cache
def archive() -> bytes:
    """Return a zip file of this package, in a package ``targets`` that holds nothing else."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("targets/__init__.py", "")
        for path in sorted(Path(__file__).parent.glob("*.py")):
            archive.write(path, f"targets/meters/{path.name}")
    return file.getvalue()


def shipment() -> bytes:
    """Return what `BOOTSTRAP` reads first."""
    content = archive()
    return str(len(content)).encode() + b"\n" + content
