"""`affectd models list`: which model files are there."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from classifiers.expression.engines import installed
from classifiers.expression.weight_files import SHIPPED, shipped
from detectors import store


def list_models(console: Console) -> None:
    """Print the detectors' files, each with its state, the shipped weights, and the engines."""
    folder = store.models_dir("")
    models = store.list_models(folder)
    table = Table("model", "state", "file", box=None, pad_edge=False)
    for model in models:
        table.add_row(model.name, model.state, model.path.name)
    for name, weights in shipped().items():
        table.add_row(f"expression {name}", "shipped", weights.name)
    console.print(table)
    console.print(f"Detectors: {folder}")
    licences = ", ".join(f"{model.name} {model.licence}" for model in models)
    console.print(f"Licences of the detectors: {licences}")
    console.print(f"Expressions: {SHIPPED}")
    console.print(f"Engines on the processor, fastest first: {', '.join(installed())}")
