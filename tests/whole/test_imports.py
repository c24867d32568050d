"""Importing runs nothing: no network, no torch before it is needed, none of the packages of commands and plots."""

import subprocess
import sys

import pytest

BLOCKED = """
import importlib, pkgutil, socket, sys
for name in ("tyro", "matplotlib", "scipy", "sklearn", "wandb", "tensorboard"):
    sys.modules[name] = None
def refuse(*_, **__):
    raise AssertionError("the network was asked for")
socket.socket.connect = socket.getaddrinfo = refuse
import simflow
for name in simflow.__all__:
    getattr(simflow, name)
for module in pkgutil.walk_packages(simflow.__path__, "simflow."):
    if not module.name.startswith("simflow.cli.") and module.name != "simflow.__main__":
        importlib.import_module(module.name)
import simflow.cli
print(len([name for name in sys.modules if name.startswith("simflow")]))
"""

QUICK = """
import sys, simflow, simflow.cli
heavy = {"torch", "numpy", "PIL", "tyro", "rich", "huggingface_hub"} & sys.modules.keys()
assert not heavy, heavy
assert "Pipeline" in dir(simflow)
"""


@pytest.mark.parametrize("program", [BLOCKED, QUICK], ids=["without the command's packages", "quickly"])
def test_import(program):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_unknown_name_is_an_attribute_error():
    import simflow

    with pytest.raises(AttributeError, match="no attribute 'sampel'"):
        simflow.sampel  # noqa: B018
