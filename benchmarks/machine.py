"""What the benchmark ran on."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dir_redis.embedded import valkey_binary


def facts() -> list[tuple[str, str]]:
    """Name and value of each fact."""
    return [
        ("Date", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("Processor", f"{_processor()}, {os.cpu_count()} cores"),
        ("System", f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}"),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        ("redis-py, hiredis", f"{_version('redis')}, {_version('hiredis')}"),
        ("Server", f"{_server()}, reached over TCP loopback, one I/O thread"),
        ("dir-redis, dir-core", f"{_version('dir-redis')}, {_version('dir-core')}"),
        ("SQLite", sqlite3.sqlite_version),
    ]


def _processor() -> str:
    about = Path("/proc/cpuinfo")
    if about.exists():
        match = re.search(r"^model name\s*: (.*)$", about.read_text(encoding="utf-8"), re.M)
        if match:
            return match[1]
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _server() -> str:
    told = subprocess.run(
        [str(valkey_binary()), "--version"], capture_output=True, text=True, check=True
    ).stdout
    match = re.search(r"v=(\S+)", told)
    return f"Valkey {match[1]}" if match else told.strip()
