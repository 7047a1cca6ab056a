"""Links where a command writes: an output that is a link to what must not be replaced, and one to nothing."""

from pathlib import Path

from tests.attacks.victim import refusal


def attack(exported: Path, work: Path) -> list[str]:
    """Export over links to a folder of someone's own, to a file, and to nothing; encode into a link to a folder."""
    own = work / "own"
    own.mkdir()
    (own / "letter.txt").write_text("dear", encoding="utf-8")
    (work / "to-own").symlink_to(own)
    (work / "to-letter").symlink_to(own / "letter.txt")
    (work / "to-nothing").symlink_to(work / "nothing")
    said = []
    for link in ("to-own", "to-letter", "to-nothing"):
        for force in ((), ("--force",)):
            said.append(refusal("dpr-export", work / "checkpoint", "-o", work / link, *force))
            assert "exists" in said[-1]
        assert (work / link).is_symlink()
    said.append(refusal("dpr-runtime", "encode", exported, "-", work / "to-own"))
    assert [path.name for path in own.iterdir()] == ["letter.txt"]
    assert (own / "letter.txt").read_text(encoding="utf-8") == "dear"
    assert not (work / "nothing").exists()
    return said
