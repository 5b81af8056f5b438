"""Write commands.md from ``--help``: ``make docs``. A test compares the two."""

from pathlib import Path

from typer.testing import CliRunner

from blurgate.cli import app

HEAD = "# Commands\n\nWritten from `--help` by `make docs`.\n"


def describe_commands() -> str:
    """Render the help of every command as Markdown."""
    names = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
    return "\n".join([HEAD, _describe(), *map(_describe, names)])


def _describe(*words: str) -> str:
    done = CliRunner().invoke(app, [*words, "--help"], prog_name="blurgate", env={"COLUMNS": "80"})
    text = "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())
    return f"## {' '.join(['blurgate', *words])}\n\n```text\n{text}\n```\n"


if __name__ == "__main__":
    (Path(__file__).parent / "commands.md").write_text(describe_commands(), encoding="utf-8")
