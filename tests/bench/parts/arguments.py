"""The command line of a benchmark."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter


def parser_of(doc: str | None) -> ArgumentParser:
    """One whose `--help` says what the benchmark's docstring does, the command included."""
    return ArgumentParser(description=doc, formatter_class=RawDescriptionHelpFormatter)
