"""That these tests run: without dir-core all others of this folder are ignored."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.version_info < (3, 12), reason="dir-core needs Python 3.12 or newer")
def test_dir_core_is_installed() -> None:
    import dir_core

    assert dir_core.DecisionRuntime


def test_without_dir_core_the_import_says_what_to_install() -> None:
    program = "import sys; sys.modules['dir_core'] = None; import dir_redis.kernel.saga"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert run.returncode == 1
    assert run.stderr.strip().endswith(
        "ImportError: dir_redis.kernel stands on dir-core, which is not installed: "
        "pip install 'dir-redis[dir-core]' (it needs Python 3.12 or newer)"
    )


def test_what_dir_core_itself_lacks_is_not_blamed_on_dir_core(tmp_path) -> None:
    (tmp_path / "dir_core.py").write_text("import a_package_that_is_missing")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import dir_redis.kernel"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert run.returncode == 1
    assert "ModuleNotFoundError: No module named 'a_package_that_is_missing'" in run.stderr
    assert "dir-redis[dir-core]" not in run.stderr
