"""What the three models share: loading an exported folder, the call as in transformers, running rows, closing.

A model holds a session and nothing that changes, so several threads may call it at once.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar, Self

import numpy as np

from dpr_export.models.artifact.folder import ExportedFolder, copy_folder
from dpr_export.models.artifact.hub import HubOptions
from dpr_export.models.artifact.resolve import open_exported_folder
from dpr_export.models.config import CONFIG_FILE, DPRConfig
from dpr_export.models.kinds import EMBEDS, IDS, Kind, find_kind
from dpr_export.models.optional_outputs import unpadded_shape
from dpr_export.models.tokenization.by_kind import TOKENIZER_CLASSES
from dpr_export.models.tokenization.encoder_tokenizers import BertTokenizer
from dpr_export.models.tokenization.tokenizer_files import TOKENIZER_FILES
from dpr_export.models.torch_interop import convert_like, import_dlpack, is_on_gpu
from dpr_export.runtime.engines.forking import watch_forks
from dpr_export.runtime.engines.length_rounding import rounded
from dpr_export.runtime.engines.nvidia.shape_buckets import corner
from dpr_export.runtime.engines.processors import usable_processors
from dpr_export.runtime.engines.session import DeviceSession, Feeds, Outputs, Session
from dpr_export.runtime.inference.batching import Batch, TokenizedRows, run_rows
from dpr_export.runtime.inference.call_arguments import OPTIONS, collect_arguments, get_option, select_optional_outputs
from dpr_export.runtime.inference.embeds import open_embeds_session
from dpr_export.runtime.inference.inputs import check_inputs, check_rows
from dpr_export.runtime.inference.loading import open_checked
from dpr_export.runtime.inference.selection import Choice, choose, precision_for
from dpr_export.runtime.inference.torch_module import LikeModule


class DPRModel(LikeModule):
    """A DPR model on an engine. Use one of its three subclasses.

    Attributes:
        config: the checkpoint's configuration.
        tokenizer: the folder's tokenizer, which `encode` and `answer` use.
        folder: the exported folder that the model was loaded from; None if the session was given.
        choice: the variant that runs, its precision, and the reason; None if the session was given.
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
        super().__init__(session)
        self.config = config
        self.tokenizer: Any = tokenizer
        self.choice = choice
        self.folder = folder
        self._threads = threads
        self._embeds: Session | None = None
        self._lock = Lock()  # of the two attributes beside it
        self._closed = False
        watch_forks(self)

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

        Only the chosen variant, the configuration and the tokenizer are read, and only they are downloaded. The first
        load of a graph on a machine also runs a few texts and compares the outputs with the PyTorch model's: what fails
        is passed over, or warned of if its precision is named. The result is kept in the user's cache folder.

        Args:
            folder: the exported folder, or its name on the hub.
            backend: "auto", or the engine to run on: "openvino", "onnxruntime", "tensorrt".
            precision: "auto", or the variant to run: "int8", "fp32", "fp16"; or "bf16" for the fp32 variant, computed
                in bfloat16 by OpenVINO.
            device: "auto", or the device to run on: "cpu", or an NVIDIA GPU, "cuda" or "cuda:1".
            threads: how many threads of the CPU one call may use; None: as many as this process has processors.
            verify: compare the SHA-256 of every file that the manifest lists and that is here. Without it, only the
                sizes of the files that are read are compared. Downloads are always compared by SHA-256.
            dtype, torch_dtype: the precision by transformers' names: "float32", "float16", "bfloat16"; "auto".
                Outputs are float32 all the same.
            output_hidden_states, output_attentions, return_dict: the defaults of a call; None: those of the folder's
                configuration.
            revision: the hub's branch, tag or commit; None: the main branch.
            token: the hub's access token; None: the one of the current login.
            cache_dir: the folder of the hub's cache; None: the hub library's default.
            local_files_only: read files from the cache, and download none.

        Raises:
            OSError: `folder` is no exported folder, and the message says which command makes it; or a download fails,
                and the message says why.
            ValueError: the folder is damaged, or has another kind of model, or lacks the requested variant.
            ImportError: the engine is not installed.
            RuntimeError: the engine cannot use the device, or has no engine file for it; the message says what is
                missing.
        """
        if threads is not None and not (type(threads) is int and 1 <= threads <= (os.cpu_count() or 1)):
            raise ValueError(f"threads is {threads!r}, and must be from 1 to the machine's {os.cpu_count()} processors")
        threads = threads or usable_processors()
        precision = precision_for(torch_dtype, precision_for(dtype, precision))
        opened = open_exported_folder(folder, HubOptions(revision, token, cache_dir, local_files_only))
        if verify:
            opened.check(verify=True)
        config = cls._read_config(opened)
        for name, value in zip(OPTIONS, (output_attentions, output_hidden_states, return_dict), strict=True):
            if value is not None:
                setattr(config, name, value)
        select = partial(choose, opened, backend=backend, precision=precision, device=device)
        choice = select()
        opened.ensure_files(*(file for file in TOKENIZER_FILES if file in opened.manifest.files))
        tokenizer = TOKENIZER_CLASSES[cls.kind.name].read(opened.path)
        if len(tokenizer) > config.vocab_size:
            raise ValueError(
                f"{opened.name} is damaged: its tokenizer has {len(tokenizer)} tokens, and vocab_size in {CONFIG_FILE} "
                f"is {config.vocab_size}"
            )
        longest = config.max_position_embeddings
        session, choice = open_checked(opened, choice, select, threads=threads, longest=longest)
        return cls(session, config, tokenizer, choice, opened, threads)

    @classmethod
    def _read_config(cls, opened: ExportedFolder) -> DPRConfig:
        """Read the folder's configuration, which must be of this kind of model."""
        opened.ensure_files(CONFIG_FILE)
        config = DPRConfig.read(opened.path)
        kind = find_kind(config.architectures)
        if opened.manifest.kind != kind.name:
            raise ValueError(
                f"{opened.name} is damaged: config.json is a {kind.name}'s, the manifest a {opened.manifest.kind}'s"
            )
        if kind is not cls.kind:
            raise ValueError(f"{opened.name} holds a {kind.architecture}, not a {cls.kind.architecture}")
        return config

    def save_pretrained(self, folder: str | Path) -> None:
        """Copy the exported folder that this model was loaded from into a folder, which may exist."""
        if self.folder is None:
            raise RuntimeError("this model was not loaded from a folder")
        copy_folder(self.folder, Path(folder))

    def _call(self, tensors: Sequence[Any], options: Sequence[bool | None]) -> Any:
        """Check a call's arguments, run the graph, and return the outputs that were requested.

        Args:
            tensors: the kind's inputs in their order, then inputs_embeds; None for one that was not given.
            options: the values of `OPTIONS`, in their order.
        """
        order = (*self.kind.inputs, EMBEDS)
        call = collect_arguments(self.kind, dict(zip((*order, *OPTIONS), (*tensors, *options), strict=True)))
        feeds = check_inputs(self.kind, self.config, **{name: call.get(name) for name in order})
        session = self._session if IDS in feeds else self._get_embeds_session()
        optional = select_optional_outputs(self.config, session.output_names, call)
        example = call[IDS] if IDS in feeds else call[EMBEDS]
        results = self._run(session, feeds, [*self.kind.outputs, *chain.from_iterable(optional.values())], example)
        output = self.kind.output_class(
            **{name: results[name] for name in self.kind.outputs},
            **{field: tuple(results[name] for name in names) for field, names in optional.items()},
        )
        return output if get_option(self.config, "return_dict", call) else output.to_tuple()

    def _run(self, session: Session, feeds: Feeds, names: Iterable[str], example: Any) -> dict[str, Any]:
        """Run one call, and return outputs without the engine's padding, as tensors or arrays like `example`."""
        length, tokens = feeds["attention_mask"].shape[1], self.kind.token_outputs
        feeds = rounded(feeds, session.length_multiple, self.config.max_position_embeddings)
        if is_on_gpu(example) and isinstance(session, DeviceSession):
            on_device = session.run_on_device(feeds)
            shapes = {name: unpadded_shape(name, on_device[name].shape, length, tokens) for name in names}
            return {name: import_dlpack(on_device[name].array, shape, example) for name, shape in shapes.items()}
        outputs = session.run(feeds)
        shapes = {name: unpadded_shape(name, outputs[name].shape, length, tokens) for name in names}
        return {name: convert_like(outputs[name][corner(shape)], example) for name, shape in shapes.items()}

    def _get_embeds_session(self) -> Session:
        """Return the session that takes embeddings, which the first call for it opens."""
        with self._lock:
            if self._closed:
                raise RuntimeError("this model is closed")
            if self._embeds is None:
                self._embeds = open_embeds_session(self.folder, self._session, self._threads)
            return self._embeds

    def run_rows(
        self, chunks: Iterable[TokenizedRows], batch_tokens: int | None = None
    ) -> Iterator[tuple[Batch, Outputs]]:
        """Run rows of this model's tokenizer in batches; see `batching.run_rows`.

        Outputs with one number per token may be longer than a row, whose own tokens come first.

        Raises:
            IndexError: an id outside the vocabulary, such as a token's that was added to the tokenizer.
        """
        return run_rows(
            self._session,
            map(partial(check_rows, self.config), chunks),
            pad_token_id=self.tokenizer.pad_token_id,
            longest=self.config.max_position_embeddings,
            batch_tokens=batch_tokens,
        )

    @property
    def _max_length(self) -> int:
        """The longest row of `encode` and `answer`, in tokens."""
        return min(self.config.max_position_embeddings, int(self.tokenizer.model_max_length))

    def warmup(self, shapes: tuple[tuple[int, int], ...] = ((1, 16), (1, 128), (8, 128))) -> Self:
        """Run the shapes (batch, sequence) that are expected, so that the first real call is as fast as the rest."""
        for batch, length in shapes:
            ids = np.ones((batch, min(length, self.config.max_position_embeddings)), np.int64)
            self._run(self._session, check_inputs(self.kind, self.config, ids), self.kind.outputs, ids)
        return self

    def explain(self) -> str:
        """Return the engine that runs this model, and why the variant was chosen, in a few lines."""
        reason = self.choice.reason if self.choice else "the session was given"
        return f"{self.kind.architecture} on {self.engine}\n{reason}"

    @property
    def engine(self) -> str:
        """The engine that runs the model, with its version."""
        return self._session.engine

    @property
    def batch_tokens(self) -> int:
        """How many tokens, padding included, a batch best has on this engine."""
        return self._session.batch_tokens

    def close(self) -> None:
        """Free the graph's memory; later calls raise a RuntimeError."""
        self._session.close()
        with self._lock:
            self._closed = True
            if self._embeds is not None:
                self._embeds.close()

    def _leave_to_parent(self) -> None:
        self._lock = Lock()  # another thread of the parent may have held it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
