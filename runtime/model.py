"""What the three models share: loading an exported folder, the original's call, closing.

A model holds a session and nothing that changes, so it may be called from several threads at once.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from dpr_export.models.command import command_that_makes
from dpr_export.models.config import DPRConfig
from dpr_export.models.folder import ExportedFolder, copy_folder
from dpr_export.models.kinds import Kind, kind_of
from dpr_export.models.manifest import MANIFEST_FILE
from dpr_export.models.tensors import like, on_gpu, taken_over
from dpr_export.models.tokenizers import BertTokenizer
from dpr_export.runtime.batching import Batch, Rows, run_rows
from dpr_export.runtime.devices import same_device
from dpr_export.runtime.inputs import checked_feeds
from dpr_export.runtime.processors import usable_processors
from dpr_export.runtime.rounding import rounded
from dpr_export.runtime.selection import Choice, choose
from dpr_export.runtime.session import DeviceSession, Feeds, Outputs, Session, open_session


class DPRModel:
    """A DPR model on an engine. Use one of its three subclasses.

    Attributes:
        config: the original's configuration.
        tokenizer: the folder's tokenizer, which `encode` and `answer` use.
        device: where the session runs: "cpu", "cuda:0".
    """

    kind: ClassVar[Kind]

    def __init__(
        self,
        session: Session,
        config: DPRConfig,
        tokenizer: BertTokenizer,
        choice: Choice | None = None,
        folder: ExportedFolder | None = None,
    ) -> None:
        self.config = config
        self.tokenizer: Any = tokenizer
        self._session = session
        self._choice = choice
        self._folder = folder

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        backend: str = "auto",
        precision: str = "auto",
        device: str = "auto",
        threads: int | None = None,
        verify: bool = False,
    ) -> Self:
        """Load an exported folder.

        Args:
            folder: the exported folder.
            backend: "auto", or the engine to run on: "openvino", "onnxruntime", "tensorrt".
            precision: "auto", or the variant to run: "int8", "fp32", "fp16"; or "bf16" for the fp32 variant, computed
                in bfloat16 by OpenVINO.
            device: "auto", or where to run: "cpu", or an NVIDIA GPU, "cuda" or "cuda:1".
            threads: how many threads of the CPU one call may use; None: as many as this process has processors.
            verify: compare every file's SHA-256 with the manifest (sizes are always compared).

        Raises:
            OSError: `folder` is no exported folder; the message says which command makes it.
            ValueError: the folder is damaged, holds another kind of model, or not the variant asked for.
            ImportError: the engine is not installed.
            RuntimeError: the engine cannot have the device, or has no engine file for it; the message says what is
                missing.
        """
        processors = os.cpu_count() or 1
        if threads is not None and not (type(threads) is int and 1 <= threads <= processors):
            raise ValueError(f"threads is {threads!r}, and must be from 1 to the machine's {processors} processors")
        if not (Path(folder) / MANIFEST_FILE).is_file():
            raise OSError(f"{folder} is not an exported folder. This command makes one: {command_that_makes(folder)}")
        opened = ExportedFolder.open(folder, verify=verify)
        config = DPRConfig.from_pretrained(folder)
        found = kind_of(config.architectures)
        if opened.manifest.kind != found.name:
            raise ValueError(
                f"{folder} is damaged: config.json is a {found.name}'s, the manifest a {opened.manifest.kind}'s"
            )
        if found is not cls.kind:
            raise ValueError(f"{folder} holds a {found.architecture}, not a {cls.kind.architecture}")
        choice = choose(opened, backend=backend, precision=precision, device=device)
        tokenizer = cls.kind.tokenizer_class.from_pretrained(folder)
        graph = opened.path / choice.variant.file
        session = open_session(
            choice.variant.backend,
            graph,
            device=choice.device,
            threads=threads or usable_processors(),
            precision=choice.precision,
            cache=opened.manifest.files[choice.variant.file].sha256,
            longest=config.max_position_embeddings,
        )
        return cls(session, config, tokenizer, choice, opened)

    def save_pretrained(self, folder: str | Path) -> None:
        """Copy the exported folder that this model was loaded from into a folder, which may exist."""
        if self._folder is None:
            raise RuntimeError("this model was not loaded from a folder")
        copy_folder(self._folder, Path(folder))

    def _call(self, input_ids: Any, attention_mask: Any, token_type_ids: Any, return_dict: bool | None) -> Any:
        """The original's call: check, run, and give back what was asked for."""
        if input_ids is None:
            raise ValueError("You have to specify either input_ids or inputs_embeds")
        feeds = checked_feeds(self.kind, self.config, input_ids, attention_mask, token_type_ids)
        if on_gpu(input_ids) and isinstance(self._session, DeviceSession):
            results = self._left_on_device(self._session, feeds, input_ids)
        else:
            results = self._session.run(self._rounded(feeds))
            for name in self.kind.token_outputs:
                results[name] = results[name][:, : feeds["input_ids"].shape[1]]
            results = {name: like(results[name], input_ids) for name in self.kind.outputs}
        output = self.kind.output_class(**results)
        as_dataclass = self.config.return_dict if return_dict is None else return_dict
        return output if as_dataclass else output.to_tuple()

    def _left_on_device(self, session: DeviceSession, feeds: Feeds, example: Any) -> dict[str, Any]:
        """The outputs, as arrays on the GPU of the library that `example` is of."""
        left = session.run_on_device(self._rounded(feeds))
        shape = feeds["input_ids"].shape
        corner = {name: shape if name in self.kind.token_outputs else left[name].shape for name in self.kind.outputs}
        return {name: taken_over(left[name].array, corner[name], example) for name in self.kind.outputs}

    def _run_all(self, calls: Iterable[Feeds]) -> Iterator[Outputs]:
        """Run batches of rows that were tokenized here. They are checked too: a configuration may be damaged.

        Outputs of tokens may be longer than the batch: see `rounded`.
        """
        return self._session.run_all(self._rounded(checked_feeds(self.kind, self.config, **feeds)) for feeds in calls)

    def _run_rows(self, chunks: Iterable[Rows], batch_tokens: int | None) -> Iterator[tuple[Batch, Outputs]]:
        """Run tokenized rows in batches of `batch_tokens`; None: of as many as suit the engine."""
        budget = self._session.batch_tokens if batch_tokens is None else batch_tokens
        return run_rows(self._run_all, chunks, pad_token_id=self.tokenizer.pad_token_id, batch_tokens=budget)

    def _rounded(self, feeds: Feeds) -> Feeds:
        return rounded(feeds, self._session.length_multiple, self.config.max_position_embeddings)

    def warmup(self, shapes: tuple[tuple[int, int], ...] = ((1, 16), (1, 128), (8, 128))) -> Self:
        """Run the shapes (batch, sequence) that one expects, so that the first real call is as fast as the rest."""
        for batch, length in shapes:
            length = min(length, self.config.max_position_embeddings)
            self._session.run(self._rounded(checked_feeds(self.kind, self.config, np.ones((batch, length), np.int64))))
        return self

    def explain(self) -> str:
        """What runs this model, and why that was chosen, in a few lines."""
        reason = self._choice.reason if self._choice else "the session was given"
        return f"{self.kind.architecture} on {self._session.engine}\n{reason}"

    @property
    def device(self) -> str:
        return self._session.device

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """The type of the outputs: float32, whatever the variant computes in."""
        return np.dtype(np.float32)

    def eval(self) -> Self:
        """Nothing to do: an exported model has no training mode. Kept for programs that call it."""
        return self

    def to(self, device: Any) -> Self:
        """Nothing to do where `device` is the one the model runs on.

        Raises:
            ValueError: another device; load the model there instead.
        """
        if not same_device(device, self.device):
            raise ValueError(f'this model runs on {self.device}: load it with from_pretrained(..., device="{device}")')
        return self

    def close(self) -> None:
        """Free the graph's memory; calls after this are a RuntimeError."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
