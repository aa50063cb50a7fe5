"""The page on sweeps, and what recipes say of them."""

import re
import shlex

from lightning_al.cli.sweep import sweep_parser
from lightning_al.sweep.plan import plan_of
from tests.helpers.recipes import RECIPES, ROOT

PAGE = ROOT / "docs" / "sweeps.md"


def commands():
    """Every `lightning-al sweep` of pages, README and recipes."""
    for path in [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", *sorted(RECIPES.rglob("*.yaml"))]:
        text = re.sub(r"\\\n#? *", "", path.read_text())  # lines that go on
        for line in re.findall(r"^(?:#   )?lightning-al (sweep -c .*)$", text, re.MULTILINE):
            words = shlex.split(line, comments=True)
            yield words[1 : words.index("|") if "|" in words else None]


def test_every_command_is_a_plan(monkeypatch):
    monkeypatch.chdir(ROOT)
    lines = list(commands())
    assert len(lines) >= 15
    for words in lines:
        options = sweep_parser().parse_args(words)
        findings = []
        methods, seeds = ",".join(options.methods), ",".join(options.seeds)
        plan_of(options.protocol, methods, seeds, dirpath=options.dirpath, findings=findings)
        assert findings == [], words


def test_every_option_is_on_the_page():
    options = {word for action in sweep_parser()._actions for word in action.option_strings} - {"-h", "--help"}
    assert options - set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", PAGE.read_text())) == set()


def test_its_python_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    [block] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    exec(compile(block, "sweeps", "exec"), {})
    said = capsys.readouterr().out
    assert re.search(r"\[2/2\] count \d: finished in 0:00; none left\n\[\]\n$", said)
    assert (tmp_path / "logs" / "3.log").read_text().endswith("1\n2\n3\n")


def test_a_sweep_is_read_without_torch():
    import subprocess
    import sys

    script = "import sys, lightning_al.cli.sweep; assert not {'torch', 'lightning', 'jsonargparse'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
