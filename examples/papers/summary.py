"""Write README.md beside this file: what each paper says, what came out here, and how, from ``results/*.json``.

    python examples/papers/summary.py [--results FOLDER] [--readme FILE]

Everything in it comes from the results, or from the first lines of the scripts that made them.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import sys
from pathlib import Path
from typing import Any

from minidl.io import atomic_write

HERE = Path(__file__).parent
NEEDED = ("paper", "fast", "seconds", "cpu_seconds", "machine", "date", "setting", "rows")
HEAD = """# What the papers promise

One script for each paper: its setting, its number, ours, and a plot beside the paper's claim. Each has `--fast`, for a first
look in about a minute, and `--help`, which explains what to look for. Where more than one seed was run, the number is their
mean, and the spread is from the lowest to the highest.

`python examples/papers/summary.py` wrote this page from the files in `results/`. Do not edit it; run that again.
"""


def about(script: Path) -> tuple[str, str, str]:
    """Read a script's docstring: its title (the first line), its command without options, and its first paragraph.

    Raises:
        ValueError: if the script is missing, or its docstring has not these three parts.
    """
    if not script.is_file():
        raise ValueError(f"{script} is missing: whose results are these?")
    doc = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    parts = doc.split("\n\n")
    if len(parts) < 3 or not parts[1].lstrip().startswith("python "):
        raise ValueError(f"{script}: its docstring should be a line, an indented command and what the paper says")
    return (
        parts[0].removesuffix(" No download needed.").removesuffix("."),
        parts[1].strip().split(" [")[0],
        " ".join(parts[2].split()),
    )


def number(value: float) -> str:
    """Show four digits, without an exponent where that is readable: 0.06412, 12.35, 18997."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Lines of a Markdown table, with a column for the paper's number, ours, and its spread over the seeds."""
    lines = ["| | paper | here | spread |", "|:--|--:|--:|:--|"]
    for row in rows:
        ours = row["ours"]
        paper = "" if row["paper"] is None else number(row["paper"])
        mean = number(sum(ours) / len(ours))
        spread = "" if len(ours) == 1 else f"{number(min(ours))} to {number(max(ours))}, {len(ours)} seeds"
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in (row["what"], paper, mean, spread)) + " |")
    return lines


def duration(seconds: float) -> str:
    """Whole seconds, or minutes: ``48 s``, ``12 min``."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def section(path: Path, readme: Path) -> list[str]:
    """Lines about one result.

    Raises:
        ValueError: if the file is not what ``common.finish`` writes.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as problem:
        raise ValueError(f"{path}: no JSON: {problem}") from None
    missing = [key for key in NEEDED if key not in result] if isinstance(result, dict) else list(NEEDED)
    if missing:
        raise ValueError(f"{path}: {', '.join(missing)} missing; was it written by a script of this folder?")
    title, command, says = about(HERE / f"{path.stem}.py")
    command += " --fast" if result["fast"] else ""
    lines = [f"## {title}", "", says, "", f"*{result['paper']}*", ""]
    if result["fast"]:
        lines += ["**A first look only: these numbers are of a run with `--fast`.**", ""]
    if path.with_suffix(".png").is_file():
        image = Path(os.path.relpath(path.with_suffix(".png"), readme.parent)).as_posix()
        lines += [f"![{title}]({image})", ""]
    lines += [*table(result["rows"]), ""]
    for name, text in result["setting"].items():
        if not text:  # a list with nothing in it
            continue
        if isinstance(text, dict):
            text = ", ".join(f"{key}: {value}" for key, value in text.items())
        lines.append(f"- {name}: {text}")
    took = f"{duration(result['seconds'])} ({duration(result['cpu_seconds'])} of computing by all threads)"
    lines += [f"- time: {took}, {result['machine']}, {result['date']}", "", "```bash", command, "```", ""]
    return lines


def render(results: Path, readme: Path) -> str:
    """Return the text of the README.

    Args:
        results: a folder with JSON files and pictures.
        readme: where the text will lie, for the links to pictures.

    Raises:
        ValueError: if there are no results, or one of them is not what it should be.
    """
    paths = sorted(results.glob("*.json"))
    if not paths:
        raise ValueError(f"no results in {results}: run the scripts with --out {results} first")
    lines = [HEAD]
    for path in paths:
        lines += section(path, readme)
    return "\n".join(lines)


def main() -> None:
    """Write the README, and say so."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the results")
    parser.add_argument("--readme", type=Path, default=HERE / "README.md", help="the file to write")
    options = parser.parse_args()
    try:
        text = render(options.results, options.readme)
        with atomic_write(options.readme) as temporary:
            Path(temporary).write_text(text, encoding="utf-8", newline="\n")
    except (ValueError, OSError) as problem:
        sys.exit(f"summary.py: {problem}")
    print(f"{options.readme}: {text.count(chr(10) + '## ')} papers")


if __name__ == "__main__":
    main()
