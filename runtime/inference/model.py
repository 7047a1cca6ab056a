"""What the three models share: loading an exported folder, the original's call, closing.

A model holds a session and nothing that changes, so it may be called from several threads at once.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar, Self

import numpy as np

from dpr_export.models.artifact.folder import ExportedFolder, copy_folder
from dpr_export.models.artifact.resolve import open_exported_folder
from dpr_export.models.config import CONFIG_FILE, DPRConfig
from dpr_export.models.kinds import EMBEDS, IDS, Kind, find_kind
from dpr_export.models.optional_outputs import unpadded_shape
from dpr_export.models.tokenization.by_kind import TOKENIZER_CLASSES
from dpr_export.models.tokenization.encoder_tokenizers import BertTokenizer
from dpr_export.models.tokenization.tokenizer_files import TOKENIZER_FILES
from dpr_export.models.torch_interop import convert_like, import_dlpack, is_on_gpu
from dpr_export.runtime.engines.length_rounding import rounded
from dpr_export.runtime.engines.nvidia.shape_buckets import corner
from dpr_export.runtime.engines.processors import usable_processors
from dpr_export.runtime.engines.session import DeviceSession, Feeds, Outputs, Session, open_session
from dpr_export.runtime.inference.batching import Batch, Rows, run_rows
from dpr_export.runtime.inference.call_arguments import OPTIONS, arguments, option_of, wanted_extras
from dpr_export.runtime.inference.embeds import open_for_embeds
from dpr_export.runtime.inference.inputs import checked_feeds
from dpr_export.runtime.inference.selection import Choice, choose, precision_for
from dpr_export.runtime.inference.torch_module import LikeModule


class DPRModel(LikeModule):
    """A DPR model on an engine. Use one of its three subclasses.

    Attributes:
        config: the original's configuration.
        tokenizer: the folder's tokenizer, which `encode` and `answer` use.
    """

    kind: ClassVar[Kind]

    def __init__(
        self,
        session: Session,
        config: DPRConfig | None = None,
        tokenizer: BertTokenizer | None = None,
        choice: Choice | None = None,
        folder: ExportedFolder | None = None,
        threads: int = 1,
    ) -> None:
        if config is None or tokenizer is None:
            raise TypeError(
                f"{type(self).__name__} cannot be made of a configuration alone, which has no weights: export a "
                "checkpoint with dpr-export, and load it with from_pretrained"
            )
        self.config = config
        self.tokenizer: Any = tokenizer
        super().__init__(session)
        self._choice = choice
        self._folder = folder
        self._threads = threads
        self._embeds: Session | None = None
        self._opening = Lock()
        self._closed = False

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
        dtype: Any = None,
        torch_dtype: Any = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> Self:
        """Load an exported folder, from this machine or from the Hugging Face hub.

        Only the variant that is chosen is read, and only it is downloaded, with the configuration and the tokenizer.

        Args:
            folder: the exported folder, or its name on the hub.
            backend: "auto", or the engine to run on: "openvino", "onnxruntime", "tensorrt".
            precision: "auto", or the variant to run: "int8", "fp32", "fp16"; or "bf16" for the fp32 variant, computed
                in bfloat16 by OpenVINO.
            device: "auto", or where to run: "cpu", or an NVIDIA GPU, "cuda" or "cuda:1".
            threads: how many threads of the CPU one call may use; None: as many as this process has processors.
            verify: compare the SHA-256 of every file that the manifest lists, and that is here. Without it, only the
                sizes of the files that are read are compared; what is downloaded is always compared whole.
            dtype, torch_dtype: the precision as the original names it: "float32", "float16", "bfloat16"; "auto".
                Outputs are float32 all the same.
            output_hidden_states, output_attentions, return_dict: what a call gives where it does not say; None: as the
                folder's configuration has it.
            revision: the hub's branch, tag or commit; None: the main branch.
            token: the hub's access token; None: the one that is logged in with.
            cache_dir: the folder of the hub's cache; None: the library's own.
            local_files_only: take files from the cache alone.

        Raises:
            OSError: `folder` is no exported folder, and the message says which command makes it; or it cannot be had
                from the hub, and the message says why.
            ValueError: the folder is damaged, holds another kind of model, or not the variant asked for.
            ImportError: the engine is not installed.
            RuntimeError: the engine cannot have the device, or has no engine file for it; the message says what is
                missing.
        """
        if threads is not None and not (type(threads) is int and 1 <= threads <= (os.cpu_count() or 1)):
            raise ValueError(f"threads is {threads!r}, and must be from 1 to the machine's {os.cpu_count()} processors")
        precision = precision_for(torch_dtype, precision_for(dtype, precision))
        opened = open_exported_folder(folder, revision, token, cache_dir, local_files_only)
        if verify:
            opened.check(verify=True)
        config = cls._config(opened)
        for name, value in (
            ("output_hidden_states", output_hidden_states),
            ("output_attentions", output_attentions),
            ("return_dict", return_dict),
        ):
            if value is not None:
                setattr(config, name, value)
        choice = choose(opened, backend=backend, precision=precision, device=device)
        opened.ensure_files(*(file for file in TOKENIZER_FILES if file in opened.manifest.files), choice.variant.file)
        tokenizer = TOKENIZER_CLASSES[cls.kind.name].from_pretrained(opened.path)
        session = open_session(
            choice.variant.backend,
            opened.path / choice.variant.file,
            device=choice.device,
            threads=threads or usable_processors(),
            precision=choice.precision,
            cache=opened.manifest.files[choice.variant.file].sha256,
            longest=config.max_position_embeddings,
        )
        return cls(session, config, tokenizer, choice, opened, threads or usable_processors())

    @classmethod
    def _config(cls, opened: ExportedFolder) -> DPRConfig:
        """The folder's configuration, which must be of this kind of model."""
        opened.ensure_files(CONFIG_FILE)
        config = DPRConfig.from_pretrained(opened.path)
        found = find_kind(config.architectures)
        if opened.manifest.kind != found.name:
            raise ValueError(
                f"{opened.name} is damaged: config.json is a {found.name}'s, the manifest a {opened.manifest.kind}'s"
            )
        if found is not cls.kind:
            raise ValueError(f"{opened.name} holds a {found.architecture}, not a {cls.kind.architecture}")
        return config

    def save_pretrained(self, folder: str | Path) -> None:
        """Copy the exported folder that this model was loaded from into a folder, which may exist."""
        if self._folder is None:
            raise RuntimeError("this model was not loaded from a folder")
        copy_folder(self._folder, Path(folder))

    def _call(self, named: Mapping[str, Any]) -> Any:
        """The original's call: check, run, and give back what was asked for.

        Args:
            named: every argument of the call, by name; None is one that was not given.
        """
        call = arguments(self.kind, named)
        feeds = checked_feeds(self.kind, self.config, **{n: v for n, v in call.items() if n not in OPTIONS})
        session = self._session if IDS in feeds else self._for_embeds()
        extras = wanted_extras(self.config, session.output_names, call)
        example = call[IDS] if IDS in feeds else call[EMBEDS]
        names = [*self.kind.outputs, *chain.from_iterable(extras.values())]
        results = self._results(session, feeds, names, example)
        output = self.kind.output_class(
            **{name: results[name] for name in self.kind.outputs},
            **{field: tuple(results[name] for name in names) for field, names in extras.items()},
        )
        return output if option_of(self.config, "return_dict", call) else output.to_tuple()

    def _results(self, session: Session, feeds: Feeds, names: Iterable[str], example: Any) -> dict[str, Any]:
        """Outputs of as many tokens as were given, as what `example` is: tensors of its device, or arrays."""
        length, tokens = feeds["attention_mask"].shape[1], self.kind.token_outputs
        given = self._rounded(feeds, session)
        if is_on_gpu(example) and isinstance(session, DeviceSession):
            left = session.run_on_device(given)
            return {
                n: import_dlpack(left[n].array, unpadded_shape(n, left[n].shape, length, tokens), example)
                for n in names
            }
        results = session.run(given)
        cut = {name: results[name][corner(unpadded_shape(name, results[name].shape, length, tokens))] for name in names}
        return {name: convert_like(array, example) for name, array in cut.items()}

    def _for_embeds(self) -> Session:
        """The session that takes embeddings, opened when it is first needed."""
        with self._opening:
            if self._closed:
                raise RuntimeError("this model is closed")
            if self._embeds is None:
                self._embeds = open_for_embeds(self._folder, self._session, self._threads)
            return self._embeds

    def _run_all(self, calls: Iterable[Feeds]) -> Iterator[Outputs]:
        """Run batches of rows that were tokenized here. They are checked too: a configuration may be damaged.

        Outputs of tokens may be longer than the batch: see `rounded`.
        """
        checked = (checked_feeds(self.kind, self.config, **feeds) for feeds in calls)
        return self._session.run_all(self._rounded(feeds, self._session) for feeds in checked)

    def _run_rows(self, chunks: Iterable[Rows], batch_tokens: int | None) -> Iterator[tuple[Batch, Outputs]]:
        """Run tokenized rows in batches of `batch_tokens`; None: of as many as suit the engine."""
        budget = self.batch_tokens if batch_tokens is None else batch_tokens
        return run_rows(
            self._run_all,
            chunks,
            pad_token_id=self.tokenizer.pad_token_id,
            batch_tokens=budget,
            length_multiple=self._session.length_multiple,
        )

    def _rounded(self, feeds: Feeds, session: Session) -> Feeds:
        return rounded(feeds, session.length_multiple, self.config.max_position_embeddings)

    def warmup(self, shapes: tuple[tuple[int, int], ...] = ((1, 16), (1, 128), (8, 128))) -> Self:
        """Run the shapes (batch, sequence) that one expects, so that the first real call is as fast as the rest."""
        for batch, length in shapes:
            length = min(length, self.config.max_position_embeddings)
            feeds = checked_feeds(self.kind, self.config, np.ones((batch, length), np.int64))
            self._session.run(self._rounded(feeds, self._session))
        return self

    def explain(self) -> str:
        """What runs this model, and why that was chosen, in a few lines."""
        reason = self._choice.reason if self._choice else "the session was given"
        return f"{self.kind.architecture} on {self.engine}\n{reason}"

    @property
    def folder(self) -> ExportedFolder | None:
        """The exported folder that the model was loaded from; None where the session was given."""
        return self._folder

    @property
    def choice(self) -> Choice | None:
        """The variant that runs, at which precision, and why; None where the session was given."""
        return self._choice

    @property
    def engine(self) -> str:
        """The engine that runs the model, with its version."""
        return self._session.engine

    @property
    def batch_tokens(self) -> int:
        """How many tokens, padding included, a batch best has on this engine."""
        return self._session.batch_tokens

    def close(self) -> None:
        """Free the graph's memory; calls after this are a RuntimeError."""
        self._session.close()
        with self._opening:
            self._closed = True
            if self._embeds is not None:
                self._embeds.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
