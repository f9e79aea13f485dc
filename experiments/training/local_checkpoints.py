"""Checkpoints as files of a local path. Lightning's own reader and writer take some for URLs.

A path with "::" is a chain of URLs to it, one that begins with "http" a download.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO


class LocalCheckpoints(TorchCheckpointIO):
    """What Lightning's Trainer saves and loads by."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Raises OSError, for a full disk say, and leaves nothing then."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            file.write_bytes(content.getbuffer())
        except OSError:
            file.unlink(missing_ok=True)
            raise

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable[..., Any] | None = lambda storage, place: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        return torch.load(path, map_location=map_location, weights_only=weights_only)

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)
