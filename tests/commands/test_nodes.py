"""Two nodes train one model; a node that never comes is not waited for without end."""

import json
import os
import re
import socket
import subprocess
import sys

import pytest

from tests.workspace import Workspace, run_idgen

TWO = ("--trainer.num_nodes=2", "--trainer.strategy=ddp", "--trainer.limit_val_batches=0")


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
        return number


def test_two_nodes_end_with_the_same_weights(workspace: Workspace, port: int) -> None:
    fit = ["-m", "idgen", "fit", f"--config={workspace.config}", *TWO, "--trainer.max_steps=2"]
    fit += ["--trainer.callbacks+=tests.signalling.RecordParameters"]
    fit += [f"--trainer.callbacks.folder={workspace.folder}"]
    meeting = ["--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1"]
    started = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "torch.distributed.run", f"--node-rank={rank}"),
                *(*meeting, f"--master-port={port}", *fit),
            ],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ},
        )
        for rank in (0, 1)
    ]
    said = [process.communicate(timeout=300)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    for text in said:
        assert f"waiting for 2 processes on 2 nodes to meet at 127.0.0.1:{port}, 600 " in text
    records = [json.loads((workspace.folder / f"rank-{n}.json").read_text()) for n in (0, 1)]
    assert records[0] == records[1]
    assert records[0]["step"] == 2
    assert workspace.last.is_file()


@pytest.mark.parametrize("node", [0, 1])
def test_a_node_that_never_comes_ends_the_run_in_one_line(
    node: int, workspace: Workspace, port: int
) -> None:
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": str(node)}
    options = (f"--config={workspace.config}", *TWO)
    ended = run_idgen("fit", *options, IDGEN_NODES_TIMEOUT="2", **where)
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert f"nodes to meet at 127.0.0.1:{port}, 2 seconds at most" in ended.stderr
    last = ended.stderr.strip().splitlines()[-1]
    assert re.search("did not meet at .* within 2 seconds", last)
    assert not workspace.last.exists()
