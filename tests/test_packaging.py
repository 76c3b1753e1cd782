"""The wheel, the sdist and an editable install each find their Lua scripts."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = """
import dir_redis, sys
from dir_redis.redis.scripts import script
assert sys.argv[1] in dir_redis.__file__, dir_redis.__file__
with dir_redis.open_storage("fakeredis://") as bundle:
    bundle.resource_lock.set_capacity("r", 1)
    assert bundle.resource_lock.acquire_batch("f", {"r": 1}, 0)
print(script("resource_lock_acquire").sha)
"""


def run(*command: object) -> str:
    """Run a command; its output, or a failure that shows it."""
    done = subprocess.run(
        [str(word) for word in command], cwd="/", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel built from that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", ROOT, "--outdir", folder, "--installer", "pip")
    return folder


def in_new_environment(folder: Path, *requirement: object) -> str:
    """Install into an environment of its own; what the program prints there.

    The dependencies are those of the running environment, behind the new one on its path.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    site = next((folder / "lib").glob("python*/site-packages"))
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps")
    run(*pip, *requirement)
    behind = "import site; site.addsitedir({!r})".format(
        next(path for path in sys.path if path.endswith("site-packages"))
    )
    (site / "zz-dependencies.pth").write_text(behind + "\n")
    where = ROOT if "--editable" in requirement else folder
    return run(python, "-I", "-c", PROGRAM, where)


def test_each_way_of_installing_finds_the_same_scripts(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    (sdist,) = built.glob("*.tar.gz")

    digests = {
        in_new_environment(tmp_path / "wheel", wheel),
        in_new_environment(tmp_path / "sdist", sdist),
        in_new_environment(tmp_path / "editable", "--editable", ROOT),
    }

    assert len(digests) == 1


def test_the_wheel_holds_the_package_its_scripts_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}

    scripts = {
        f"dir_redis/lua/{path.relative_to(ROOT / 'lua')}" for path in ROOT.glob("lua/**/*.lua")
    }
    modules = {str(path.relative_to(ROOT / "src")) for path in ROOT.glob("src/dir_redis/**/*.py")}
    assert names == scripts | modules | {"dir_redis/py.typed"}


def test_the_sdist_holds_what_building_and_testing_takes(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert {"pyproject.toml", "README.md", "LICENSE", "Makefile", "lua/saga_mark.lua"} <= names
    assert {"CONTRIBUTING.md", "docker-compose.yml", "benchmarks/__main__.py"} <= names
    assert {"tests/conftest.py", "docs/keys.md", "examples/fleet/__main__.py"} <= names
