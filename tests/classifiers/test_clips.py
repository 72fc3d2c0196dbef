"""The table of clips: what `unknown` hides, and no label that never occurs."""

from __future__ import annotations

from tests.bench.clips import Event, table


def event(label: str, neutral: float, sad: float) -> Event:
    probabilities = {"happy": 1.0 - neutral - sad, "sad": sad, "neutral": neutral}
    return {"label": label, "probabilities": probabilities}


def test_it_says_what_unknown_hides() -> None:
    doubtful = [event("unknown", 0.50, 0.3), event("unknown", 0.3, 0.48)]
    talking = [*doubtful, event("unknown", 0.45, 0.2), event("neutral", 0.75, 0.1)]

    head, _, first, second = table({"talking": talking, "nobody": []}).splitlines()

    assert head == (
        "| clip | faces read | neutral | unknown "
        "| likeliest neutral | likeliest sad | mean p neutral | mean p sad |"
    )
    assert first == "| talking | 4 | 25% | 75% | 75% | 25% | 0.50 | 0.27 |"
    assert second == "| nobody | 0 | – | – | – | – | – | – |"
