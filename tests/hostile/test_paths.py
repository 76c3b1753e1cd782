"""Paths that no data can be kept in are refused as such, and nothing is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dir_redis import StorageConfigurationError, embedded_storage, open_storage, sqlite_storage

OPENERS = pytest.mark.parametrize("open_path", [sqlite_storage, embedded_storage])


@OPENERS
@pytest.mark.parametrize(
    "path", ["file/below", "file", "/proc/x", "x" * 300, "a\0b", "a\ud800", "x/" * 3000]
)
def test_a_path_that_cannot_be_used_is_a_configuration_error(
    open_path: Callable[..., Any], path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("no store")

    with pytest.raises(StorageConfigurationError):
        open_path(path)
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("scheme", ["embedded", "sqlite"])
def test_a_path_in_a_url_that_cannot_be_used_is_named(scheme: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no store")

    with pytest.raises(StorageConfigurationError, match=r"file/below.*take another"):
        open_storage(f"{scheme}:///{tmp_path}/file/below/it")


@OPENERS
@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("url", ["redis://u:s3cr3t@h", "REDIS+Sentinel://:s3cr3t@h/0", "unix:///s"])
def test_a_url_is_no_path_and_its_password_is_not_told(
    open_path: Callable[..., Any],
    kind: Callable[[str], Any],
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(StorageConfigurationError, match="open_storage") as refused:
        open_path(kind(url))
    assert "s3cr3t" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_without_a_temporary_folder_an_embedded_store_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))

    with pytest.raises(StorageConfigurationError, match="TMPDIR"):
        embedded_storage()
