"""Names of the hub in `from_pretrained`: what is downloaded, what is refused, and what the cache gives without it."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from dpr_export.exporter import ExportError
from dpr_export.exporter.checkpoint.source import resolve_checkpoint
from dpr_export.models.artifact.hub import NotInCacheError, Repository
from dpr_export.models.artifact.manifest import MANIFEST_FILE, SAMPLE_FILE
from dpr_export.models.artifact.variants import EMBEDS_FILE
from dpr_export.models.config import DPRConfig
from dpr_export.runtime import (
    DPRContextEncoder,
    DPRContextEncoderTokenizer,
    DPRQuestionEncoder,
    DPRQuestionEncoderTokenizer,
    DPRReader,
    DPRReaderTokenizer,
)
from tests.hub.server import READ_ONLY, TOKEN, Hub, Repo

NAME = "somebody/question-onnx"
GRAPH = "onnx/model.onnx"
SMALL = ["config.json", "tokenizer.json", "tokenizer_config.json"]
CLASSES = {
    "question": (DPRQuestionEncoder, DPRQuestionEncoderTokenizer),
    "context": (DPRContextEncoder, DPRContextEncoderTokenizer),
    "reader": (DPRReader, DPRReaderTokenizer),
}


def vectors(name: str | Path, **how: object) -> np.ndarray:
    with DPRQuestionEncoder.from_pretrained(name, backend="onnxruntime", precision="fp32", **how) as model:
        return model.encode(["who wrote hamlet ?", "paris"])


@pytest.fixture
def pushed(hub: Hub, plain: Callable[..., Path]) -> Path:
    """A question encoder whose only graph is `model.onnx`, which is on the hub too."""
    folder = plain("question")
    hub.add(NAME, folder)
    return folder


@pytest.mark.parametrize("kind", CLASSES)
def test_a_model_a_tokenizer_and_a_configuration_are_loaded_by_their_name(
    hub: Hub, tiny: dict[str, Path], kind: str
) -> None:
    hub.add(f"somebody/{kind}-onnx", tiny[kind])
    model_class, tokenizer_class = CLASSES[kind]
    ids = np.array([[2, 17, 30, 3], [2, 40, 3, 0]])
    with (
        model_class.from_pretrained(f"somebody/{kind}-onnx") as model,
        model_class.from_pretrained(tiny[kind]) as local,
    ):
        for ours, expected in zip(model(ids)[:], local(ids)[:], strict=True):
            assert np.array_equal(ours, expected)
    tokenizer = tokenizer_class.from_pretrained(f"somebody/{kind}-onnx", do_lower_case=False)
    assert tokenizer.get_vocab() == tokenizer_class.from_pretrained(tiny[kind]).get_vocab()
    assert not tokenizer.do_lower_case
    assert DPRConfig.from_pretrained(f"somebody/{kind}-onnx") == DPRConfig.from_pretrained(tiny[kind])
    with pytest.raises(TypeError, match="no_such_option"):
        model_class.from_pretrained(f"somebody/{kind}-onnx", no_such_option=1)
    with pytest.raises(TypeError, match="no_such_option"):
        tokenizer_class.from_pretrained(f"somebody/{kind}-onnx", no_such_option=1)


def test_of_a_folder_with_every_variant_only_the_chosen_one_is_downloaded(
    hub: Hub, tiny_variants: dict[str, Path]
) -> None:
    hub.add(NAME, tiny_variants["question"])
    DPRQuestionEncoder.from_pretrained(NAME, backend="openvino", precision="int8").close()
    assert sorted(hub.downloads()) == sorted([MANIFEST_FILE, *SMALL, SAMPLE_FILE, "onnx/model_int8.onnx"])
    hub.requests.clear()
    DPRQuestionEncoder.from_pretrained(NAME, backend="openvino", precision="int8").close()
    assert hub.requests == [f"HEAD {MANIFEST_FILE}"]


def test_a_configuration_and_a_tokenizer_download_no_graph(hub: Hub, pushed: Path) -> None:  # noqa: ARG001
    DPRConfig.from_pretrained(NAME)
    assert hub.downloads() == [MANIFEST_FILE, "config.json"]
    DPRQuestionEncoderTokenizer.from_pretrained(NAME)
    assert hub.downloads() == [MANIFEST_FILE, *SMALL]


def test_a_folder_here_wins_over_the_hub_and_nothing_is_asked(
    hub: Hub, pushed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pushed.parent)
    shutil.copytree(pushed, NAME)
    vectors(NAME)
    with pytest.raises(OSError, match=r"there is no folder somebody/no-such. This command makes one"):
        vectors(Path("somebody/no-such"))
    assert hub.requests == []


def test_all_files_come_from_one_commit_though_another_is_pushed_meanwhile(
    hub: Hub, pushed: Path, tiny: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = vectors(pushed)
    read = DPRConfig.read

    def push_and_read(folder: Path) -> DPRConfig:
        hub.add(NAME, tiny["reader"])
        return read(folder)

    monkeypatch.setattr(DPRConfig, "read", push_and_read)
    assert np.array_equal(vectors(NAME), expected)
    with pytest.raises(ValueError, match="holds a DPRReader, not a DPRQuestionEncoder"):
        vectors(NAME)


def test_a_revision_is_a_branch_or_a_commit_and_an_unknown_one_is_refused(
    hub: Hub, pushed: Path, tiny: dict[str, Path]
) -> None:
    (first,) = hub.repos[NAME].commits
    hub.add(NAME, tiny["reader"])
    assert np.array_equal(vectors(NAME, revision=first), vectors(pushed))
    with pytest.raises(OSError, match=f"{NAME} on the hub has no revision v9: give a branch, a tag or a commit"):
        vectors(NAME, revision="v9")


def test_what_was_downloaded_is_there_without_the_hub(hub: Hub, pushed: Path, tmp_path: Path) -> None:
    expected = vectors(pushed)
    assert np.array_equal(vectors(NAME, cache_dir=tmp_path / "mine"), expected)
    hub.down = 503
    assert np.array_equal(vectors(NAME, cache_dir=tmp_path / "mine"), expected)
    asked = len(hub.requests)
    assert np.array_equal(vectors(NAME, cache_dir=tmp_path / "mine", local_files_only=True), expected)
    assert len(hub.requests) == asked
    assert not (tmp_path / "cache").exists()


def test_offline_a_model_loads_from_the_cache_and_one_that_is_not_there_is_one_line(
    hub: Hub,
    pushed: Path,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vectors(NAME)
    code = (
        "import sys; from dpr_export.runtime import DPRQuestionEncoder\n"
        "try: print(DPRQuestionEncoder.from_pretrained(sys.argv[1], backend='onnxruntime').encode(['a']).shape)\n"
        "except OSError as error: print(error)"
    )
    hub.requests.clear()
    shown = [
        subprocess.run(
            [sys.executable, "-c", code, name],
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for name in (NAME, "somebody/other-onnx")
    ]
    assert shown[0] == "(1, 32)\n"
    assert shown[1].startswith(
        "manifest.json of somebody/other-onnx is not in the cache, and the hub cannot be reached: "
    )
    assert hub.requests == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match=r"not in the cache, and the hub cannot be reached: check .* and HF_HUB_OFFLINE"):
        DPRReader.from_pretrained("somebody/other-onnx")


@pytest.mark.parametrize("status", [500, 503])
def test_a_hub_that_is_out_of_order_is_one_line(hub: Hub, status: int) -> None:
    hub.down = status
    with pytest.raises(OSError, match=rf"^manifest.json of {NAME} is not in the cache, and the hub .*{status}.*$"):
        vectors(NAME)


def test_a_hub_that_cannot_be_reached_is_one_line(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = "http://127.0.0.1:9"
    monkeypatch.setattr(constants, "ENDPOINT", nowhere)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", nowhere + "/{repo_id}/resolve/{revision}/{filename}")
    with pytest.raises(OSError, match="not in the cache, and the hub cannot be reached: check the network"):
        vectors(NAME)
    with pytest.raises(OSError, match="not in the cache, and the hub cannot be reached: check the network"):
        DPRReaderTokenizer.from_pretrained(NAME)
    assert hub.requests == []


def test_a_variant_that_is_not_in_the_cache_is_one_line_that_names_it(hub: Hub, tiny_variants: dict[str, Path]) -> None:
    hub.add(NAME, tiny_variants["question"])
    vectors(NAME)
    with pytest.raises(OSError, match=r"^onnx/model_int8.onnx of .* is not in the cache, and the hub is not asked"):
        DPRQuestionEncoder.from_pretrained(NAME, backend="openvino", precision="int8", local_files_only=True)


def test_a_repository_that_is_missing_or_private_is_one_line_and_a_token_opens_it(hub: Hub, pushed: Path) -> None:
    missing = r"^there is no folder nobody/nothing, and no such repository on the hub, or a private one: .* token .*"
    for token in (None, TOKEN):
        with pytest.raises(OSError, match=missing + "dpr-export nobody/nothing -o nothing-onnx$"):
            DPRReader.from_pretrained("nobody/nothing", token=token)
    hub.repos[NAME].private = True
    with pytest.raises(OSError, match=f"^there is no folder {NAME}, and no such repository on the hub, or a private"):
        vectors(NAME)
    with pytest.raises(OSError, match=r"^there is no folder reader-onnx. .*: dpr-export CHECKPOINT -o reader-onnx$"):
        DPRReader.from_pretrained("reader-onnx")
    with pytest.raises(OSError, match="cannot be downloaded: the hub refuses the token, or needs one"):
        vectors(NAME, token="hf_wrong")
    assert np.array_equal(vectors(NAME, token=READ_ONLY), vectors(pushed))


def test_a_gated_repository_says_where_to_ask(hub: Hub, pushed: Path) -> None:  # noqa: ARG001
    hub.repos[NAME].gated = True
    with pytest.raises(OSError, match=f"^{NAME} on the hub is gated: ask for access on its page, and give a token"):
        vectors(NAME, token=READ_ONLY)


@pytest.mark.parametrize("name", ["o/a--b", "o/" + "x" * 97, "o/no..name"])
def test_a_name_that_no_repository_can_have_is_answered_at_once(hub: Hub, name: str) -> None:
    with pytest.raises(OSError, match=r"there is no folder .*, and it can be no repository's name on the hub. This"):
        DPRReader.from_pretrained(name)
    assert hub.requests == []


def test_a_checkpoint_is_no_exported_folder_but_its_tokenizer_and_configuration_are_read(
    hub: Hub, tiny: dict[str, Path]
) -> None:
    checkpoint = tiny["reader"].with_name("reader-checkpoint")
    hub.add("somebody/reader", checkpoint)
    with pytest.raises(OSError, match=r"is not an exported folder: it has no .*: dpr-export somebody/reader$"):
        DPRReader.from_pretrained("somebody/reader")
    assert hub.downloads() == []
    assert DPRConfig.from_pretrained("somebody/reader").architectures == ["DPRReader"]
    tokenizer = DPRReaderTokenizer.from_pretrained("somebody/reader")
    assert tokenizer.get_vocab() == DPRReaderTokenizer.from_pretrained(checkpoint).get_vocab()
    assert hub.downloads() == ["config.json", "vocab.txt"]
    hub.down = 503
    assert DPRReaderTokenizer.from_pretrained("somebody/reader").get_vocab() == tokenizer.get_vocab()
    hub.down = 0
    hub.add("somebody/empty", checkpoint / "no-such-folder")
    with pytest.raises(OSError, match=r"somebody/empty on the hub has none of config.json"):
        DPRConfig.from_pretrained("somebody/empty")


def test_a_checkpoints_tokenizer_is_of_one_commit_though_another_is_pushed_meanwhile(
    hub: Hub, tiny: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    vocabulary = (tiny["reader"].with_name("reader-checkpoint") / "vocab.txt").read_bytes()
    files = {"tokenizer_config.json": b'{"do_lower_case": false}', "vocab.txt": vocabulary}
    repo = hub.repos["somebody/reader"] = Repo()
    repo.commit(files)
    download = Repository.download

    def push_and_download(asked: Repository, file: str) -> Path | None:
        path = download(asked, file)
        if file == "tokenizer_config.json":
            repo.commit({**files, "vocab.txt": vocabulary + b"later\n"})
        return path

    monkeypatch.setattr(Repository, "download", push_and_download)
    assert "later" not in DPRReaderTokenizer.from_pretrained("somebody/reader").get_vocab()
    assert "later" in DPRReaderTokenizer.from_pretrained("somebody/reader").get_vocab()


def test_a_manifest_of_another_program_is_no_exported_folder(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / MANIFEST_FILE).write_text('{"manifest_version": 3, "name": "of a browser"}')
    hub.add("somebody/page", tmp_path / "page")
    with pytest.raises(OSError, match="somebody/page on the hub is not an exported folder"):
        DPRReader.from_pretrained("somebody/page")


def test_a_download_that_breaks_off_is_gone_on_with(hub: Hub, pushed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # of 10 MB, and what is cut off within one is lost
    hub.cut[GRAPH] = [20_000, 5_000]
    assert np.array_equal(vectors(NAME), vectors(pushed))
    assert hub.ranges == ["bytes=20000-", "bytes=25000-"]


def test_a_download_that_never_ends_leaves_nothing_and_the_next_call_completes_it(
    hub: Hub, pushed: Path, tmp_path: Path
) -> None:
    hub.cut[GRAPH] = [20_000] + [0] * 20
    with pytest.raises(OSError, match=rf"^{GRAPH} of {NAME}@\w{{40}} cannot be downloaded: .+$"):
        vectors(NAME)
    size = (pushed / GRAPH).stat().st_size
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.stat().st_size >= 20_000]
    hub.cut.clear()
    assert np.array_equal(vectors(NAME), vectors(pushed))
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.stat().st_size == size]


def test_a_file_of_other_content_is_refused_and_not_kept(hub: Hub, pushed: Path) -> None:
    content = bytearray((pushed / GRAPH).read_bytes())
    content[len(content) // 2] ^= 1
    hub.wrong[GRAPH] = bytes(content)
    refused = rf"^{NAME}@\w{{40}} is damaged: {GRAPH} has SHA-256 .*; it was removed from the cache: try again"
    for _ in range(2):
        with pytest.raises(ValueError, match=refused):
            vectors(NAME)
    hub.wrong.clear()
    assert np.array_equal(vectors(NAME), vectors(pushed))


def test_a_file_of_another_length_is_refused(hub: Hub, pushed: Path) -> None:
    hub.wrong["tokenizer.json"] = (pushed / "tokenizer.json").read_bytes()[:-1]
    with pytest.raises(
        ValueError, match=r"tokenizer.json has [\d,]+ bytes, and the manifest says [\d,]+; it was removed"
    ):
        DPRQuestionEncoderTokenizer.from_pretrained(NAME)


@pytest.mark.usefixtures("hub")
def test_a_file_that_was_damaged_in_the_cache_is_downloaded_again(pushed: Path, tmp_path: Path) -> None:
    vectors(NAME)
    (kept,) = (tmp_path / "cache").rglob(GRAPH)
    whole = (pushed / GRAPH).read_bytes()
    kept.write_bytes(whole[:-1])
    assert np.array_equal(vectors(NAME), vectors(pushed))
    kept.write_bytes(whole[:-1] + b"x")
    with pytest.raises(ValueError, match=f"{GRAPH} has SHA-256"):
        vectors(NAME, verify=True)
    assert np.array_equal(vectors(NAME, verify=True), vectors(pushed))


def test_a_disk_that_is_full_is_one_line(hub: Hub, pushed: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    with pytest.raises(OSError, match=f"^manifest.json of {NAME} cannot be downloaded: No space left on device$"):
        vectors(NAME)


def test_a_manifest_that_names_a_path_outside_is_refused_before_anything_else_is_asked(
    hub: Hub, plain: Callable[..., Path]
) -> None:
    folder = plain("question")
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    manifest["files"]["../../../outside"] = manifest["files"]["config.json"]
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))
    hub.add(NAME, folder)
    with pytest.raises(ValueError, match=r"'../../../outside', which is not a path within the folder"):
        vectors(NAME)
    assert hub.downloads() == [MANIFEST_FILE]


def test_a_model_from_the_hub_is_saved_whole(hub: Hub, pushed: Path, tmp_path: Path) -> None:
    with DPRQuestionEncoder.from_pretrained(NAME) as model:
        assert "reference_outputs.npz" not in hub.downloads()
        model.save_pretrained(tmp_path / "saved")
    names = {path.relative_to(pushed): path.read_bytes() for path in pushed.rglob("*") if path.is_file()}
    assert names == {p.relative_to(tmp_path / "saved"): p.read_bytes() for p in (tmp_path / "saved").rglob("*.*")}


def test_a_variant_that_was_lost_stops_only_who_needs_it(tiny_variants: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "lost"
    shutil.copytree(tiny_variants["question"], folder)
    (folder / "onnx/model_int8.onnx").unlink()
    assert vectors(folder).shape == (2, 32)
    with pytest.raises(ValueError, match=r"lost is damaged: onnx/model_int8.onnx is missing; export it again"):
        vectors(folder, verify=True)
    with pytest.raises(ValueError, match=r"onnx/model_int8.onnx is missing"):
        DPRQuestionEncoder.from_pretrained(folder, backend="openvino", precision="int8")
    with DPRQuestionEncoder.from_pretrained(folder, backend="onnxruntime", precision="fp32") as model:
        with pytest.raises(ValueError, match=r"onnx/model_int8.onnx is missing"):
            model.save_pretrained(tmp_path / "copy")
        assert not (tmp_path / "copy").exists()


def test_a_checkpoint_is_downloaded_for_export_with_its_commit(hub: Hub, tiny: dict[str, Path]) -> None:
    hub.add("somebody/reader", tiny["reader"].with_name("reader-checkpoint"))
    (commit,) = hub.repos["somebody/reader"].commits
    with resolve_checkpoint("somebody/reader") as checkpoint:
        assert checkpoint.revision == commit
        assert checkpoint.weights[0].read_bytes() == hub.repos["somebody/reader"].commits[commit]["model.safetensors"]


def test_a_checkpoint_that_is_not_on_the_hub_is_one_line(hub: Hub) -> None:
    missing = pytest.raises(
        ExportError,
        match=r"^there is no folder somebody/nothing, and no such repository on the hub, or a private one: [^.]*$",
    )
    with missing, resolve_checkpoint("somebody/nothing"):
        pass
    assert hub.downloads() == []


def test_a_checkpoint_that_cannot_be_downloaded_is_one_line(hub: Hub, tiny: dict[str, Path]) -> None:
    hub.add("somebody/reader", tiny["reader"].with_name("reader-checkpoint"))
    hub.cut["model.safetensors"] = [100] + [0] * 20
    with (
        pytest.raises(ExportError, match=r"^model.safetensors of somebody/reader@\w+ cannot be downloaded: .+$"),
        resolve_checkpoint("somebody/reader"),
    ):
        pass
    hub.repos["somebody/reader"].gated = True
    with pytest.raises(ExportError, match="gated"), resolve_checkpoint("somebody/reader"):
        pass


@pytest.mark.parametrize("lost", ["tokenizer_config.json", "model.safetensors"])
def test_a_file_of_a_checkpoint_that_is_lost_on_the_way_is_not_done_without(
    hub: Hub, tiny: dict[str, Path], monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """A tokenizer without its configuration would be another tokenizer, and the weights might be another file's."""
    hub.add("somebody/reader", tiny["reader"].with_name("reader-checkpoint"))
    download = Repository.download

    def breaking_off(asked: Repository, file: str) -> Path | None:
        if file == lost:
            raise NotInCacheError(f"{file} is not in the cache")
        return download(asked, file)

    monkeypatch.setattr(Repository, "download", breaking_off)
    with pytest.raises(ExportError, match="cannot be reached"), resolve_checkpoint("somebody/reader"):
        pass


def test_the_graph_that_takes_embeddings_is_downloaded_when_it_is_called(hub: Hub, tiny_whole: dict[str, Path]) -> None:
    hub.add(NAME, tiny_whole["question"])
    embeddings = np.random.default_rng(0).standard_normal((1, 4, 32)).astype(np.float32)
    with DPRQuestionEncoder.from_pretrained(NAME, device="cpu") as model:
        assert EMBEDS_FILE not in hub.downloads()
        found_here = model(inputs_embeds=embeddings).pooler_output
    assert EMBEDS_FILE in hub.downloads()
    with DPRQuestionEncoder.from_pretrained(tiny_whole["question"], device="cpu") as local:
        assert np.array_equal(found_here, local(inputs_embeds=embeddings).pooler_output)
