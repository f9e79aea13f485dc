"""docs/launcher.md, done as it says on a copy of the sources; the commands that start cells by it."""

import re
import shlex
import sys
from pathlib import Path

from doc_pages import copy_sources, run_in
from test_readme import PAGES, apply, blocks

PAGE = PAGES["launcher.md"]


def test_the_worked_example_of_a_launcher(tmp_path: Path) -> None:
    copy_sources(tmp_path)
    for diff in blocks("diff", PAGE):
        apply(tmp_path / "ablations" / "launch" / "launchers.py", diff)
    (launcher,) = blocks("python", PAGE)
    (tmp_path / "ablations" / "launch" / "hosts.py").write_text(launcher)
    study = tmp_path / "configs" / "study" / "smoke.yaml"
    text = study.read_text()
    study.write_text(text.replace("experiment=smoke", "experiment=smoke, trainer.max_steps=2"))
    assert study.read_text() != text

    printed = [run(tmp_path, command) for command in commands()]
    assert len(printed) == 5
    _, dry, waited, status, again = printed
    assert "4 cells, 4 would start" in dry
    assert waited.count("2 cells as process") == 2 and "4 ok" in waited
    assert "4 ok" in status
    assert "as process" not in again
    assert not list((tmp_path / "runs").rglob("host.json"))
    results = list((tmp_path / "runs" / "smoke").rglob("result.json"))
    assert len(results) == 4


def commands() -> list[str]:
    return re.findall(r"^    ((?:python|printf) .*)$", PAGE, re.MULTILINE)


def run(directory: Path, command: str) -> str:
    python = f"{shlex.quote(sys.executable)} "
    return run_in(directory, ["sh", "-c", re.sub(r"^python ", lambda _: python, command)])
