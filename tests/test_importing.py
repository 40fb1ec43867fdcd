"""Libraries are imported as ever, but for work that nothing needs."""

import gc
import importlib.metadata
import subprocess
import sys

import pytest

from idgen.importing import uncollected


def test_what_is_imported_is_not_looked_through_for_garbage() -> None:
    assert gc.isenabled()
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_garbage_is_collected_again_after_a_failed_import() -> None:
    with pytest.raises(ImportError), uncollected():
        import there_is_no_such_module  # type: ignore[import-not-found]  # noqa: F401
    assert gc.isenabled()


def test_diffusers_finds_what_it_would_have_found() -> None:
    """In a process of its own, as it looks around once."""
    code = (
        "import importlib.metadata as metadata\n"
        "asked, ours = [], metadata.packages_distributions\n"
        "def counted(): asked.append(1); return ours()\n"
        "metadata.packages_distributions = counted\n"
        "from idgen.importing import import_diffusers\n"
        "import_diffusers()\n"
        "from diffusers.utils import import_utils\n"
        "assert metadata.packages_distributions is counted\n"
        "looked = len(asked)\n"
        "assert dict(import_utils._package_map) == dict(ours())\n"
        "print(looked, len(asked), import_utils._torch_available, import_utils._peft_available)"
    )
    rare = {"optimum", "flashinfer", "modelopt"} & set(importlib.metadata.packages_distributions())
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["1" if rare else "0", "1", "True", "True"]
