"""Where the benchmark keeps what it makes, and how large its models are.

A folder per size and kind holds the checkpoint and all that is made of it:

    base/question/checkpoint   the DPR model with random weights, as transformers writes it
                  bert         the BERT inside, alone, for peers that know nothing of DPR
                  exported     the folder that dpr-export writes
                  ...          one folder per peer
    peer/                      the environment of the peer that pins other versions
    logs/                      what the processes print
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

GRAPH = "model.onnx"  # what each folder of a graph calls it
SHAPES = ((1, 16), (1, 128), (8, 128), (16, 256))  # batch x sequence


@dataclass(frozen=True, slots=True)
class Size:
    """A size of model: how DPRConfig differs from its defaults, which are BERT-base's (12 layers, 768 wide)."""

    name: str
    config: dict[str, Any]


BASE = Size("base", {})
TINY = Size("tiny", {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256})


@dataclass(frozen=True, slots=True)
class Place:
    """The working folder of a run.

    Attributes:
        work: the folder.
        size: which models the run is about.
        peer: the peer's virtual environment.
    """

    work: Path
    size: Size
    peer: Path

    def of(self, kind: str, what: str) -> Path:
        return self.work / self.size.name / kind / what

    def log(self, name: str) -> Path:
        (self.work / "logs").mkdir(parents=True, exist_ok=True)
        return self.work / "logs" / f"{name.replace(' ', '-')}.log"

    @property
    def peer_python(self) -> Path:
        return self.peer / "bin" / "python"

    @property
    def variables(self) -> dict[str, str]:
        """Variables of every worker: caches stay in the working folder, and nothing asks the hub."""
        return {
            "XDG_CACHE_HOME": str(self.work / "cache"),
            "TORCHINDUCTOR_CACHE_DIR": str(self.work / "cache" / "inductor"),
            "HF_HOME": str(self.work / "cache" / "huggingface"),
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_VERBOSITY": "error",
        }


def shape_name(shape: tuple[int, int]) -> str:
    """How a shape is written.

    >>> shape_name((8, 128))
    '8x128'
    """
    return f"{shape[0]}x{shape[1]}"
