"""The call as in transformers: same outputs, same defaults, same errors; and loading, closing, threads."""

import copy
import pickle
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import huggingface_hub
import numpy as np
import onnxruntime
import pytest
import torch
import transformers

from dpr_export import runtime
from dpr_export.models.kinds import KINDS
from dpr_export.runtime import DPRContextEncoder, DPRQuestionEncoder, DPRReader
from dpr_export.runtime.inference import loading
from dpr_export.runtime.inference import model as model_module
from dpr_export.runtime.inference.selection import precision_for
from tests.doubles.fake_session import FakeSession

CLASSES = {"question": DPRQuestionEncoder, "context": DPRContextEncoder, "reader": DPRReader}


def reference(tiny: dict[str, Path], kind: str) -> transformers.PreTrainedModel:
    source = tiny[kind].with_name(f"{kind}-checkpoint")
    return getattr(transformers, KINDS[kind].architecture).from_pretrained(source, attn_implementation="eager")


def batch(seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    ids = generator.integers(1, 120, (3, 11))
    ids[0, 6:] = 0
    ids[2] = 0
    return {"input_ids": ids, "attention_mask": generator.integers(0, 2, ids.shape)}


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("with_mask", [True, False])
@pytest.mark.parametrize("return_dict", [True, False, None])
def test_a_call_gives_what_transformers_gives(
    tiny: dict[str, Path], kind: str, with_mask: bool, return_dict: bool | None
) -> None:
    feeds = {name: array for name, array in batch().items() if with_mask or name == "input_ids"}
    with CLASSES[kind].from_pretrained(tiny[kind]) as model, torch.no_grad():
        found = model(**feeds, return_dict=return_dict)
        expected = reference(tiny, kind)(
            **{name: torch.from_numpy(array) for name, array in feeds.items()}, return_dict=return_dict
        )
    assert isinstance(found, tuple) == isinstance(expected, tuple)
    assert len(found) == len(expected)
    for ours, theirs in zip(found[:] if return_dict is not False else found, expected[:], strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)


def test_torch_tensors_in_give_torch_tensors_out(tiny: dict[str, Path]) -> None:
    with DPRReader.from_pretrained(tiny["reader"]) as model:
        ids = torch.from_numpy(batch()["input_ids"])
        assert isinstance(model(ids).start_logits, torch.Tensor)
        assert isinstance(model(ids.numpy()).start_logits, np.ndarray)


def test_one_changed_import_line_runs_transformers_example(tiny: dict[str, Path]) -> None:
    results = []
    for library, folder in (
        (transformers, tiny["reader"].with_name("reader-checkpoint")),
        (runtime, tiny["reader"]),
    ):
        tokenizer = library.DPRReaderTokenizer.from_pretrained(folder)
        model = library.DPRReader.from_pretrained(folder)
        encoded = tokenizer(
            questions=["What is love ?"],
            titles=["Haddaway"],
            texts=["'What Is Love' is a song recorded by the artist Haddaway"],
            return_tensors="pt",
        )
        with torch.no_grad():
            outputs = model(**encoded)
        results.append((encoded, outputs, tokenizer.decode_best_spans(encoded, outputs)))
    (theirs, their_outputs, their_spans), (ours, our_outputs, our_spans) = results
    assert torch.equal(ours["input_ids"], theirs["input_ids"])
    assert torch.allclose(our_outputs.start_logits, their_outputs.start_logits, atol=1e-5)
    assert [span[2:] for span in our_spans] == [span[2:] for span in their_spans]
    assert len(our_spans) == 4


def test_neither_ids_nor_embeddings_is_transformers_error(tiny: dict[str, Path]) -> None:
    with (
        DPRQuestionEncoder.from_pretrained(tiny["question"]) as model,
        pytest.raises(ValueError, match="You have to specify either input_ids or inputs_embeds"),
    ):
        model()


def test_an_unknown_keyword_is_a_type_error(tiny: dict[str, Path]) -> None:
    with (
        DPRQuestionEncoder.from_pretrained(tiny["question"]) as model,
        pytest.raises(TypeError, match="no_such_argument"),
    ):
        model(np.ones((1, 2), int), no_such_argument=1)


def test_a_reader_takes_no_token_types(tiny: dict[str, Path]) -> None:
    with DPRReader.from_pretrained(tiny["reader"]) as model, pytest.raises(TypeError, match="token_type_ids"):
        model(np.ones((1, 2), int), token_type_ids=np.zeros((1, 2), int))


def test_a_name_that_is_no_exported_folder_is_answered_with_the_command_that_makes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match="dpr-export facebook/dpr-reader-single-nq-base -o dpr-reader-single"):
        DPRReader.from_pretrained("facebook/dpr-reader-single-nq-base")
    with pytest.raises(OSError, match="dpr-export facebook/dpr-reader-single-nq-base -o dpr-reader-single"):
        runtime.DPRReaderTokenizer.from_pretrained("facebook/dpr-reader-single-nq-base")


def test_another_kind_of_model_is_refused(tiny: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="holds a DPRContextEncoder, not a DPRReader"):
        DPRReader.from_pretrained(tiny["context"])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"backend": "no_such"}, "backend is 'no_such', and must be one of: auto, onnxruntime, openvino"),
        ({"precision": "fp64"}, "precision is 'fp64', and must be one of: auto, fp32, fp16, int8, bf16"),
        ({"device": "gpu"}, "device is 'gpu', and must be one of: cpu, cuda, cuda:0, cuda:1"),
        ({"threads": 100_000}, "threads is 100000, and must be from 1 to"),
        ({"threads": 0}, "threads is 0, and must be from 1 to"),
        ({"threads": "2"}, "threads is '2', and must be from 1 to"),
        ({"threads": True}, "threads is True, and must be from 1 to"),
    ],
)
def test_an_option_that_cannot_be_had_is_refused(tiny: dict[str, Path], option: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DPRReader.from_pretrained(tiny["reader"], **option)


def test_a_closed_model_says_so_and_may_be_closed_again(tiny: dict[str, Path]) -> None:
    model = DPRQuestionEncoder.from_pretrained(tiny["question"])
    model.close()
    model.close()
    with pytest.raises(RuntimeError, match="closed"):
        model(np.ones((1, 2), int))


def test_the_drop_in_surface_of_a_model(tiny: dict[str, Path], tmp_path: Path) -> None:
    with DPRQuestionEncoder.from_pretrained(tiny["question"]) as model:
        assert model.eval() is model.to("cpu") is model
        assert (model.device, model.dtype, model.config.hidden_size) == ("cpu", np.float32, 32)
        assert model.cpu() is model
        assert (model.device.type, model.device.index) == ("cpu", None)
        assert torch.zeros(1, device=model.device).to(model.device).device.type == "cpu"
        for elsewhere in (lambda: model.to("cuda"), lambda: model.cuda(), lambda: model.to(torch.device("cuda:0"))):
            with pytest.raises(ValueError, match="this model runs on cpu"):
                elsewhere()
        for nowhere in ("mps", torch.float16):
            with pytest.raises(ValueError, match=r"device is .*, and must be one of: cpu, cuda"):
                model.to(nowhere)
        assert "onnx/model.onnx" in model.warmup().explain()
        model.save_pretrained(tmp_path / "copy")
        with DPRQuestionEncoder.from_pretrained(tmp_path / "copy", verify=True) as copy:
            ids = batch()["input_ids"]
            assert np.array_equal(copy(ids).pooler_output, model(ids).pooler_output)
        model.tokenizer.save_pretrained(tmp_path / "together")
        model.save_pretrained(tmp_path / "together")
        DPRQuestionEncoder.from_pretrained(tmp_path / "together", verify=True).close()


def test_a_model_saved_into_its_own_folder_leaves_it_as_it_was(tiny: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(tiny["question"], tmp_path / "own")
    with DPRQuestionEncoder.from_pretrained(tmp_path / "own") as model:
        model.save_pretrained(tmp_path / "own")
        model.save_pretrained(tmp_path / "own" / ".." / "own")
        (tmp_path / "file").write_text("mine")
        with pytest.raises(FileExistsError, match=r"folder .*file is a file: give a folder"):
            model.save_pretrained(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
    DPRQuestionEncoder.from_pretrained(tmp_path / "own", verify=True).close()


def test_eight_threads_get_what_one_gets(tiny: dict[str, Path]) -> None:
    with DPRReader.from_pretrained(tiny["reader"]) as model:
        calls = [batch(seed) for seed in range(64)]
        alone = [model(**call).start_logits for call in calls]
        gate = threading.Barrier(8)

        def work(share: int) -> list[np.ndarray]:
            gate.wait()
            return [model(**call).start_logits for call in calls[share::8]]

        with ThreadPoolExecutor(8) as pool:
            for share, found in enumerate(pool.map(work, range(8))):
                for ours, expected in zip(found, alone[share::8], strict=True):
                    assert np.array_equal(ours, expected)


def test_configuration_decides_where_return_dict_is_not_given(tiny: dict[str, Path]) -> None:
    with DPRQuestionEncoder.from_pretrained(tiny["question"]) as model:
        model.config.return_dict = False
        assert isinstance(model(np.ones((1, 2), int)), tuple)


def test_everything_above_the_engine_runs_on_a_fake(tiny: dict[str, Path]) -> None:
    with DPRQuestionEncoder.from_pretrained(tiny["question"]) as real:
        fake = FakeSession(lambda feeds: {"pooler_output": np.zeros((len(feeds["input_ids"]), 32), np.float32)})
        model = DPRQuestionEncoder(fake, real.config, real.tokenizer)
        assert model.encode(["who", "what is"]).shape == (2, 32)
        assert "fake" in model.explain()
        assert fake.calls[0]["input_ids"].shape == (2, 4)


def test_threads_reach_the_session(tiny: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(loading, "open_session", lambda *_, threads, **__: asked.append(threads) or FakeSession(dict))
    monkeypatch.setattr(loading, "_check", lambda *_: None)
    monkeypatch.setattr(model_module, "usable_processors", lambda: 7)
    DPRReader.from_pretrained(tiny["reader"], threads=1)
    DPRReader.from_pretrained(tiny["reader"])
    assert asked == [1, 7]


def test_a_session_is_made_with_the_threads_it_is_given(tiny: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda *args, **named: made.append(args[1]) or real(*args, **named)
    )
    DPRReader.from_pretrained(tiny["reader"], backend="onnxruntime", threads=1).close()
    assert (made[0].intra_op_num_threads, made[0].inter_op_num_threads) == (1, 1)


def test_a_configuration_that_was_changed_after_export_is_an_error_and_no_crash(
    tiny: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(tiny["context"], tmp_path / "changed")
    config = tmp_path / "changed" / "config.json"
    config.write_text(config.read_text().replace('"max_position_embeddings": 512', '"max_position_embeddings": 999'))
    with DPRContextEncoder.from_pretrained(tmp_path / "changed") as model:
        model.tokenizer.model_max_length = 999
        with pytest.raises(RuntimeError, match="OpenVINO failed"):
            model.encode(["a " * 700])


def test_the_tokenizers_own_bound_on_length_counts(tiny: dict[str, Path]) -> None:
    with (
        DPRReader.from_pretrained(tiny["reader"]) as reader,
        DPRQuestionEncoder.from_pretrained(tiny["question"]) as model,
    ):
        reader.tokenizer.model_max_length = model.tokenizer.model_max_length = 12
        assert np.array_equal(model.encode(["a " * 50]), model.encode(["a " * 10]))
        assert reader.answer("who ?", ["t"], ["play " * 20])[0].truncated


def test_a_damaged_folder_is_refused(tiny: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(tiny["question"], tmp_path / "damaged")
    graph = tmp_path / "damaged" / "onnx" / "model.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    with pytest.raises(ValueError, match=r"onnx/model\.onnx has SHA-256"):
        DPRQuestionEncoder.from_pretrained(tmp_path / "damaged", verify=True)
    graph.write_bytes(content[:-1])
    with pytest.raises(ValueError, match=r"onnx/model\.onnx has [\d,]+ bytes, and the manifest says [\d,]+; export it"):
        DPRQuestionEncoder.from_pretrained(tmp_path / "damaged")
    graph.unlink()
    with pytest.raises(ValueError, match=r"onnx/model\.onnx is missing"):
        DPRQuestionEncoder.from_pretrained(tmp_path / "damaged")


@pytest.mark.parametrize("option", ["dtype", "torch_dtype"])
def test_transformers_names_of_precisions_choose_ours(tiny_variants: dict[str, Path], option: str) -> None:
    for dtype in (torch.float32, "float32", np.float32):
        with DPRQuestionEncoder.from_pretrained(tiny_variants["question"], **{option: dtype}) as model:
            assert "precision=fp32," in model.explain()
    for dtype in ("auto", None):
        with DPRQuestionEncoder.from_pretrained(tiny_variants["question"], **{option: dtype}) as model:
            assert "precision=auto," in model.explain()
    assert precision_for(torch.bfloat16) == "bf16"
    assert precision_for(np.dtype("float16")) == "fp16"
    with pytest.raises(ValueError, match="dtype is 'float64', and must be one of: auto, float32, float16, bfloat16"):
        DPRQuestionEncoder.from_pretrained(tiny_variants["question"], **{option: torch.float64})
    with pytest.raises(ValueError, match="dtype is 'float32', and precision is 'int8': give one of them"):
        DPRQuestionEncoder.from_pretrained(tiny_variants["question"], precision="int8", **{option: torch.float32})


def test_what_a_call_gives_may_be_decided_when_loading(tiny_whole: dict[str, Path]) -> None:
    with DPRQuestionEncoder.from_pretrained(tiny_whole["question"], output_attentions=True) as model:
        assert list(model(batch()["input_ids"])) == ["pooler_output", "attentions"]
    with DPRReader.from_pretrained(tiny_whole["reader"], return_dict=False, output_hidden_states=True) as reader:
        assert len(reader(batch()["input_ids"])) == 4


@pytest.mark.parametrize("model_class", CLASSES.values())
def test_a_configuration_alone_makes_no_model(model_class: type) -> None:
    with pytest.raises(TypeError, match="cannot be made of a configuration alone, which has no weights: export"):
        model_class(runtime.DPRConfig())


def test_a_model_is_neither_pickled_nor_copied(tiny: dict[str, Path]) -> None:
    with DPRReader.from_pretrained(tiny["reader"]) as model:
        for attempt in (pickle.dumps, copy.deepcopy, copy.copy):
            with pytest.raises(TypeError, match="runs on an engine, which can be neither pickled nor copied"):
                attempt(model)
