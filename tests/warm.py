"""`dvc` and `python -m stages.X` in forks of one process that has loaded their libraries before.

The tests of the graph start some three hundred processes, each of which would load torch or DVC
anew, and DVC parses `composed.yaml` for every stage and `dvc.lock` after it, in plain Python:
minutes of processor time. Here a small program that stands on the PATH in place of `python`
and of `dvc` hands its arguments, folder, environment and streams to the process that forks.
Nothing of this project is loaded before a fork, so that every run reads the files as they stand; a
run that limits the memory of its process gets a process of its own.

    python -m tests.warm SOCKET FOLDER     the process that forks, until its standard input is
                                           closed; FOLDER is for what was parsed
"""

import atexit
import hashlib
import io
import json
import os
import pickle
import runpy
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

LIBRARIES = (
    *("dvc.cli", "dvc.commands.repro", "dvc.repo", "dvc.stage.run", "dvc_data.index"),
    *("torch", "torch.distributed", "numpy", "scipy.stats", "scipy.optimize", "safetensors.torch"),
    *("pandas", "pyarrow.parquet", "hydra", "omegaconf", "pydantic", "yaml", "psutil", "jinja2"),
    *("tokenizers", "transformers.modeling_utils", "transformers.models.gemma2.modeling_gemma2"),
    *("transformers.tokenization_utils_tokenizers", "altair", "vl_convert", "numcodecs.zstd"),
)
OWN_PROCESS = "stages.shuffle"
"""It counts what its process holds, libraries too."""

# Sent with the streams: {"name": "python" or "dvc", "arguments": ..., "folder": ..., "environment":
# ...}. The answer is the exit status; a signal ends the fork as it ends the program in its place.
PROGRAM = """#!{python} -IS
import json, os, signal, socket, sys
name, *arguments = {name!r}, *sys.argv[1:]
if name == "python" and (arguments[:1] != ["-m"] or {own!r} in arguments):
    os.execv({python!r}, [{python!r}, *arguments])
run = dict(name=name, arguments=arguments, folder=os.getcwd(), environment=dict(os.environ))
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
socket.send_fds(server, [json.dumps(run).encode() + b"\\n"], [0, 1, 2])
answers = server.makefile()
pid = int(answers.readline())
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, _: os.kill(pid, number))
sys.exit(int(answers.readline()))
"""


@contextmanager
def warm(folder: Path) -> Iterator[str]:
    """A PATH entry with the two programs, served while this is open.

    folder: new, for the programs and the socket
    """
    folder.mkdir()
    # A socket's path holds 107 bytes at most, fewer than pytest's folders may have.
    address = f"\0{folder}"[-100:]
    for name in ("python", "dvc"):
        program = PROGRAM.format(python=sys.executable, own=OWN_PROCESS, name=name, address=address)
        (folder / name).write_text(program)
        (folder / name).chmod(0o755)
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.warm", address[1:], str(folder)],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with server:
        assert server.stdin is not None
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        yield str(folder)
        server.stdin.close()
        server.kill()


def remember_yaml(folder: Path) -> None:
    """Keep what each YAML text holds in `folder`, and parse none that was parsed or written before.

    A text has one meaning, and whoever asks gets a copy of his own.
    """
    from ruamel.yaml import YAML

    parse, write = YAML.load, YAML.dump
    folder.mkdir()

    def kept(yaml: YAML, text: str) -> Path:
        return folder / hashlib.sha256(f"{yaml.typ}{text}".encode()).hexdigest()

    def load(self: YAML, stream: Any) -> Any:
        if not isinstance(stream, str):
            return parse(self, stream)
        file = kept(self, stream)
        if not file.exists():
            file.write_bytes(pickle.dumps(parse(self, stream)))
        return pickle.loads(file.read_bytes())

    def dump(self: YAML, data: Any, stream: Any = None, *, transform: Any = None) -> None:
        text = io.StringIO()
        write(self, data, text, transform=transform)
        stream.write(text.getvalue())
        kept(self, text.getvalue()).write_bytes(pickle.dumps(data))

    YAML.load, YAML.dump = load, dump


def serve(address: str, folder: Path) -> None:
    for name in LIBRARIES:
        import_module(name)
    remember_yaml(folder / "parsed")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("\0" + address)
        listening.listen(64)
        print("ready", flush=True)
        while True:
            asked, _ = listening.accept()
            if not os.fork():
                listening.close()
                attend(asked)
            asked.close()


def attend(asked: socket.socket) -> None:
    """Fork the run and answer with its exit status; never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    data, streams, _, _ = socket.recv_fds(asked, 1 << 20, 3)
    while not data.endswith(b"\n"):
        data += asked.recv(1 << 20)
    if not (pid := os.fork()):
        asked.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os._exit(ran(json.loads(data)))
    for stream in streams:
        os.close(stream)
    with suppress(BrokenPipeError):
        asked.sendall(f"{pid}\n".encode())
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        asked.sendall(f"{status if status >= 0 else 128 - status}\n".encode())
    os._exit(0)


def ran(run: dict[str, object]) -> int:
    """Run what was typed in this process as if it had just begun; its exit status."""
    name, arguments, environment = run["name"], run["arguments"], run["environment"]
    assert isinstance(arguments, list)
    assert isinstance(environment, dict)
    os.chdir(str(run["folder"]))
    os.environ.clear()
    os.environ.update(environment)
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:1] = [str(run["folder"]), *paths]
    status = 0
    try:
        if any(Path(path, "sitecustomize.py").exists() for path in paths):
            sys.modules.pop("sitecustomize", None)
            import_module("sitecustomize")
        if name == "dvc":
            from dvc.cli import main

            sys.argv = ["dvc", *arguments]
            status = main() or 0
        else:
            sys.argv = arguments[1:]
            runpy._run_module_as_main(arguments[1])  # pyright: ignore[reportAttributeAccessIssue]
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(BrokenPipeError):
            stream.flush()
    return status


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]))
