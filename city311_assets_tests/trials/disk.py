"""A small disk of its own that can be full; what cannot be mounted is limited otherwise."""

import errno
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOMY = "8g"
# So much is left of a disk that is nearly full: less than a night writes.
LEFT_BYTES = 400_000
NO_LIMIT = resource.RLIM_INFINITY, resource.RLIM_INFINITY


@dataclass
class Disk:
    """A folder that is a file system of its own in memory, where this process may mount one.

    Elsewhere a full disk is a limit on the size of files: a write fails as well, with EFBIG in
    place of ENOSPC.
    """

    folder: Path
    is_mounted: bool

    @property
    def error(self) -> str:
        """The name of the error that a write gets when it is full."""
        return errno.errorcode[errno.ENOSPC if self.is_mounted else errno.EFBIG]

    @contextmanager
    def nearly_full(
        self, largest: Path, processes: Sequence[int], left_bytes: int = LEFT_BYTES
    ) -> Iterator[None]:
        """Leave room for so many bytes.

        `largest` is the largest file of the folder; `processes` are those that write there.
        """
        if not self.is_mounted:
            limit = largest.stat().st_size + left_bytes
            for process in processes:
                resource.prlimit(process, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            yield
            for process in filter(_is_running, processes):
                resource.prlimit(process, resource.RLIMIT_FSIZE, NO_LIMIT)
            return
        used = shutil.disk_usage(self.folder).used
        self._remount(str(used + left_bytes))
        try:
            yield
        finally:
            self._remount(ROOMY)

    def _remount(self, size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.folder)], check=True)


def _is_running(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


@contextmanager
def disk(folder: Path) -> Iterator[Disk]:
    """Make a folder that can be full."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={ROOMY}", "tmpfs", str(folder)]
    may_mount = os.geteuid() == 0 and shutil.which("mount") is not None
    is_mounted = may_mount and subprocess.run(command, check=False).returncode == 0
    try:
        yield Disk(folder, is_mounted)
    finally:
        if is_mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)
