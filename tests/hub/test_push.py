"""An exported folder is pushed whole, in one commit with its card, and comes back equal; and what stands in the way."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from huggingface_hub import ModelCard, constants

from dpr_export.exporter import ExportError, push
from dpr_export.exporter.hub.push import check_push
from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.manifest import MANIFEST_FILE
from dpr_export.runtime import DPRContextEncoder, DPRQuestionEncoder, DPRReader
from tests.commands import run_command
from tests.hub.server import READ_ONLY, TOKEN, Hub, Repo

NAME = "somebody/question-onnx"
# huggingface_hub 2.4 uploads with an argument that its own library of HTTP calls has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
CLASSES = {"question": DPRQuestionEncoder, "context": DPRContextEncoder, "reader": DPRReader}


def pushed_files(hub: Hub, name: str) -> dict[str, bytes]:
    return list(hub.repos[name].commits.values())[-1]


def dpr_export(*arguments: object, cwd: Path, code: int = 0, token: str | None = None) -> CompletedProcess[str]:
    with pytest.MonkeyPatch.context() as patch:
        if token:
            patch.setenv("HF_TOKEN", token)
        return run_command("dpr-export", *arguments, cwd=cwd, code=code)


@pytest.mark.parametrize("kind", CLASSES)
def test_what_is_pushed_is_loaded_again_and_equal(hub: Hub, tiny: dict[str, Path], kind: str) -> None:
    name = f"somebody/{kind}-onnx"
    assert push(tiny[kind], f"{kind}-onnx", token=TOKEN) == name
    manifest = ExportedFolder.read(tiny[kind]).manifest
    files = pushed_files(hub, name)
    assert files.keys() == {*manifest.files, MANIFEST_FILE, "README.md", ".gitattributes"}
    assert all(files[file] == (tiny[kind] / file).read_bytes() for file in (*manifest.files, MANIFEST_FILE))
    assert len(hub.repos[name].commits) == 2
    ids = np.array([[2, 17, 30, 3], [2, 40, 3, 0]])
    with CLASSES[kind].from_pretrained(name, verify=True) as model, CLASSES[kind].from_pretrained(tiny[kind]) as local:
        for ours, expected in zip(model(ids)[:], local(ids)[:], strict=True):
            assert np.array_equal(ours, expected)


@pytest.mark.parametrize("kind", CLASSES)
def test_the_python_of_the_card_runs(
    hub: Hub, tiny: dict[str, Path], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    push(tiny[kind], f"somebody/{kind}-onnx", token=TOKEN)
    card = pushed_files(hub, f"somebody/{kind}-onnx")["README.md"].decode()
    (code,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out


def test_a_card_beside_the_files_breaks_no_check(hub: Hub, plain: Callable[..., Path], tmp_path: Path) -> None:
    push(plain("question"), NAME, token=TOKEN)
    for file, content in pushed_files(hub, NAME).items():
        (tmp_path / "clone" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "clone" / file).write_bytes(content)
    folder = ExportedFolder.open(tmp_path / "clone", verify=True)
    assert "README.md" not in folder.manifest.files
    assert not (plain("question", "again") / "README.md").exists()


def test_the_licence_is_the_one_that_the_source_states(
    hub: Hub, plain: Callable[..., Path], tmp_path: Path, tiny: dict[str, Path]
) -> None:
    source = tmp_path / "source"
    shutil.copytree(tiny["question"].with_name("question-checkpoint"), source)
    folder = plain("question")
    manifest = json.loads((folder / MANIFEST_FILE).read_text())

    def stated(name: str, revision: str | None, card: str | None) -> str:
        (source / "README.md").unlink(missing_ok=True)
        if card is not None:
            (source / "README.md").write_text(card)
        if revision is not None:
            revision = list(hub.add(name, source).commits)[-1]
        manifest["source"] |= {"name": name, "revision": revision}
        (folder / MANIFEST_FILE).write_text(json.dumps(manifest))
        push(folder, NAME, token=TOKEN)
        return ModelCard(pushed_files(hub, NAME)["README.md"].decode()).data.to_dict()["license"]

    stating = "---\nlicense: cc-by-nc-4.0\nlanguage: en\n---\n# A card\n"
    assert stated("facebook/dpr", "main", stating) == "cc-by-nc-4.0"
    assert ModelCard(pushed_files(hub, NAME)["README.md"].decode()).data.to_dict()["base_model"] == "facebook/dpr"
    assert stated(str(source), None, stating) == "cc-by-nc-4.0"
    for silent in (
        None,
        "# no front matter\n",
        "---\nlanguage: en\n---\n",
        "---\nlicense: [\n---\n",
        "---\nlicense: 3\n---\n",
    ):
        assert stated(str(source), None, silent) == "unknown"
    assert stated("facebook/other", "main", None) == "unknown"


def test_a_second_push_replaces_the_first_and_removes_what_it_no_longer_has(
    hub: Hub, tiny_variants: dict[str, Path], plain: Callable[..., Path]
) -> None:
    push(tiny_variants["question"], NAME, token=TOKEN)
    repo = hub.repos[NAME]
    repo.commit({**pushed_files(hub, NAME), "onnx/mine.onnx": b"kept", "LICENSE": b"kept"})
    folder = plain("question")
    push(folder, NAME, token=TOKEN)
    manifest = ExportedFolder.read(folder).manifest
    kept = {MANIFEST_FILE, "README.md", ".gitattributes", "onnx/mine.onnx", "LICENSE"}
    assert pushed_files(hub, NAME).keys() == {*manifest.files, *kept}
    count = len(repo.commits)
    push(folder, NAME, token=TOKEN)
    assert len(repo.commits) <= count + 1


def test_another_model_is_not_overwritten(hub: Hub, tiny: dict[str, Path], plain: Callable[..., Path]) -> None:
    folder = plain("question")
    hub.add("somebody/question", tiny["question"].with_name("question-checkpoint"))
    before = pushed_files(hub, "somebody/question")
    with pytest.raises(ExportError, match="somebody/question contains another model, whose files would be replaced"):
        push(folder, "somebody/question", token=TOKEN)
    hub.repos["somebody/page"] = Repo()
    hub.repos["somebody/page"].commit({MANIFEST_FILE: b'{"manifest_version": 3}'})
    with pytest.raises(ExportError, match="somebody/page contains another model"):
        push(folder, "somebody/page", token=TOKEN)
    assert pushed_files(hub, "somebody/question") == before


def test_a_private_push_is_private_or_refused(hub: Hub, plain: Callable[..., Path]) -> None:
    folder = plain("question")
    push(folder, NAME, private=True, token=TOKEN)
    assert hub.repos[NAME].private
    with pytest.raises(OSError, match="or a private one"):
        DPRQuestionEncoder.from_pretrained(NAME)
    DPRQuestionEncoder.from_pretrained(NAME, token=TOKEN).close()
    hub.repos["somebody/open"] = Repo()
    hub.repos["somebody/open"].commit({})
    with pytest.raises(ExportError, match="somebody/open is public, but --private is set: make it private on the hub"):
        push(folder, "somebody/open", private=True, token=TOKEN)
    assert pushed_files(hub, "somebody/open") == {}


@pytest.mark.parametrize(
    ("token", "down", "message"),
    [
        (READ_ONLY, 0, "the hub answers 403: You don't have the rights to create a model here"),
        ("hf_wrong", 0, "the hub refuses the token, or needs one"),
        (TOKEN, 500, "the hub answers 500: "),
    ],
)
def test_a_push_that_the_hub_refuses_is_one_line_that_says_where_the_folder_is(
    hub: Hub, plain: Callable[..., Path], token: str, down: int, message: str
) -> None:
    folder, hub.down = plain("question"), down
    with pytest.raises(ExportError) as error:
        push(folder, NAME, token=token)
    assert str(error.value).startswith(f"cannot push to {NAME}: {message}")
    assert str(error.value).endswith(
        f". The exported folder is at {folder}; to try again: dpr-export {folder} --push-to-hub {NAME}"
    )
    assert "\n" not in str(error.value)
    ExportedFolder.open(folder, verify=True)


def test_a_hub_that_cannot_be_reached_is_one_line(
    hub: Hub, plain: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ExportError, match=f"^cannot push to {NAME}: .*refused. The exported folder is at "):
        push(plain("question"), NAME, token=TOKEN)
    assert hub.requests == []


def test_what_cannot_succeed_is_refused_before_any_work(
    hub: Hub, plain: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ExportError, match="cannot push to a/b without a token"):
        push(plain("question"), "a/b")
    with pytest.raises(ExportError, match="cannot push to a/b without a token: give --token or HF_TOKEN, or"):
        check_push("a/b")
    for name in ("a/b/c", "a--b", "", "no name"):
        with pytest.raises(ExportError, match=f"^{name!r} is not a valid name for a repository: "):
            check_push(name, TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ExportError, match="cannot push to a/b: HF_HUB_OFFLINE is set"):
        check_push("a/b", TOKEN)
    assert hub.requests == []


def test_a_damaged_folder_is_not_pushed(hub: Hub, plain: Callable[..., Path]) -> None:
    folder = plain("question")
    content = bytearray((folder / "onnx/model.onnx").read_bytes())
    content[-1] ^= 1
    (folder / "onnx/model.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=r"onnx/model.onnx has SHA-256"):
        push(folder, NAME, token=TOKEN)
    assert hub.requests == []


def test_the_command_exports_pushes_and_answers_with_the_repository(
    hub: Hub, tiny: dict[str, Path], tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    source = tmp_path / "source"
    shutil.copytree(tiny["question"].with_name("question-checkpoint"), source)
    (source / "README.md").write_text("---\nlicense: mit\n---\n")
    hub.add("facebook/tiny", source)
    (commit,) = hub.repos["facebook/tiny"].commits
    done = dpr_export("facebook/tiny", "--push-to-hub", "tiny-onnx", "--private", "--json", cwd=tmp_path, token=TOKEN)
    assert json.loads(done.stdout)["source"]["revision"] == commit
    assert done.stderr.rstrip().endswith("pushed to somebody/tiny-onnx on the hub")
    fields = ModelCard(pushed_files(hub, "somebody/tiny-onnx")["README.md"].decode()).data.to_dict()
    assert (fields["license"], fields["base_model"]) == ("mit", "facebook/tiny")
    assert hub.repos["somebody/tiny-onnx"].private
    with DPRQuestionEncoder.from_pretrained("somebody/tiny-onnx", token=TOKEN) as model:
        expected = DPRQuestionEncoder.from_pretrained(tmp_path / "tiny-onnx").encode(["who"])
        assert np.array_equal(model.encode(["who"]), expected)


def test_the_command_pushes_a_folder_as_it_is_and_fails_in_one_line(
    hub: Hub, plain: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("onnx")
    folder = plain("question")
    before = (folder / MANIFEST_FILE).read_bytes()
    dpr_export(folder, "--push-to-hub", NAME, "--token", TOKEN, cwd=tmp_path)
    assert (folder / MANIFEST_FILE).read_bytes() == before == pushed_files(hub, NAME)[MANIFEST_FILE]
    done = dpr_export(folder, "--push-to-hub", NAME, cwd=tmp_path, code=1, token=READ_ONLY)
    assert done.stderr.splitlines()[-1].startswith(f"dpr-export: cannot push to {NAME}: the hub answers 403: ")
    for arguments, code, message in (
        (("no-such", "--push-to-hub", NAME), 1, f"dpr-export: cannot push to {NAME} without a token"),
        ((folder, "--private"), 2, "dpr-export: Invalid value: --private needs --push-to-hub"),
        ((folder, "--push-to-hub", NAME, "--token", TOKEN, "--opset", "19"), 1, "dpr-export: opset does not apply to"),
    ):
        done = dpr_export(*arguments, cwd=tmp_path, code=code)
        assert done.stderr[: len(message)] == message
        assert done.stderr.count("\n") == 1
