"""Libraries are imported as ever, but for work that nothing needs."""

import functools
import gc
import importlib.metadata
import subprocess
import sys

import pytest

from idgen.importing import import_model_libraries, uncollected


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
        "from idgen.importing import import_model_libraries\n"
        "import_model_libraries()\n"
        "from diffusers.utils import import_utils\n"
        "assert metadata.packages_distributions is counted\n"
        "looked = len(asked)\n"
        "assert dict(import_utils._package_map) == dict(ours())\n"
        "print(looked, len(asked), import_utils._torch_available, import_utils._peft_available)"
    )
    rare = {"optimum", "flashinfer", "modelopt"} & set(importlib.metadata.packages_distributions())
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["1" if rare else "0", "1", "True", "True"]


def test_transformers_reads_the_files_of_its_models_once() -> None:
    code = (
        "import functools\n"
        "from idgen.importing import import_model_libraries\n"
        "ours = functools.lru_cache\n"
        "import_model_libraries()\n"
        "assert functools.lru_cache is ours\n"
        "import transformers\n"
        "from transformers.utils.import_utils import create_import_structure_from_path as look\n"
        "before = look.cache_info()\n"
        "transformers.CLIPTextModel, transformers.AutoTokenizer\n"
        "after = look.cache_info()\n"
        "print(before.misses, after.misses - before.misses)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, again = map(int, ended.stdout.split())
    # All of the models at first; afterwards the folder of all once more, by another name.
    assert first > 100
    assert again <= 5


def test_opencv_is_imported_once_something_of_it_is_used() -> None:
    code = (
        "import sys\n"
        "from idgen import opencv\n"
        "getattr(opencv, '__warningregistry__', None)\n"
        "print('cv2' in sys.modules, hasattr(opencv, '__path__'))\n"
        "from cv2 import resize\n"
        "print(opencv.resize is resize, hasattr(opencv, 'no_such_thing'))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["False", "False", "True", "False"]


def test_what_others_have_put_in_the_place_of_functions_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import_model_libraries()
    replaced = ((functools, "lru_cache"), (importlib.metadata, "packages_distributions"))
    of_another = object()
    for module, name in replaced:
        monkeypatch.setattr(module, name, of_another)
    import_model_libraries()
    assert all(getattr(module, name) is of_another for module, name in replaced)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ImportError):
        import_model_libraries()
    assert all(getattr(module, name) is of_another for module, name in replaced)
