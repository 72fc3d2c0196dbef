"""The MQTT discovery messages by which Home Assistant makes a device of a stream: one message a
device (since Home Assistant 2024.12)."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from classifiers.expression import LABELS
from daemon.reading import UNKNOWN
from daemon.version import affectd_version

NOBODY = "none"  # what the expression is while no face is in view
_ICONS = {
    "angry": "mdi:emoticon-angry-outline",
    "disgust": "mdi:emoticon-sick-outline",
    "fear": "mdi:emoticon-frown-outline",
    "happy": "mdi:emoticon-happy-outline",
    "sad": "mdi:emoticon-sad-outline",
    "surprise": "mdi:emoticon-excited-outline",
    "neutral": "mdi:emoticon-neutral-outline",
}


def device_id(topics: str) -> str:
    """A unique name for the stream whose topics begin with `topics`, as the device's identifier and
    the MQTT client ID; of the characters that Home Assistant accepts."""
    name = re.sub(r"[^A-Za-z0-9_-]", "_", topics)
    if re.fullmatch(r"[A-Za-z0-9-]+/[A-Za-z0-9_-]+", topics):  # unique: its first _ was the /
        return name
    return f"{name}_{hashlib.sha256(topics.encode()).hexdigest()[:8]}"


def discovery(topics: str, stream: str) -> str:
    """The line of JSON that announces the stream: whether its camera gives pictures, how many
    faces are in view, what the largest shows, and for each expression whether any face shows it."""
    device = device_id(topics)
    by_state = {
        "topic": f"{topics}/state",
        "value_template": "{{ 'online' if value_json.live else 'offline' }}",
    }
    by_affectd = {"topic": f"{topics}/availability"}
    components: dict[str, dict[str, Any]] = {
        "camera": {
            "platform": "binary_sensor",
            "name": "Camera",
            "device_class": "connectivity",
            "entity_category": "diagnostic",
            "value_template": "{{ 'ON' if value_json.live else 'OFF' }}",
            "availability": [by_affectd],
        },
        "faces": {
            "platform": "sensor",
            "name": "Faces",
            "icon": "mdi:face-recognition",
            "state_class": "measurement",
            "value_template": "{{ value_json.faces }}",
            "json_attributes_topic": f"{topics}/state",
            "json_attributes_template": "{{ value_json.labels | tojson }}",
        },
        "expression": {
            "platform": "sensor",
            "name": "Expression",
            "icon": "mdi:emoticon-outline",
            "device_class": "enum",
            "options": [*LABELS, UNKNOWN, NOBODY],
            "value_template": f"{{{{ value_json.expression or '{NOBODY}' }}}}",
        },
    }
    for label in LABELS:
        components[label] = {
            "platform": "binary_sensor",
            "name": label.capitalize(),
            "icon": _ICONS[label],
            "value_template": f"{{{{ 'ON' if value_json.labels.{label} else 'OFF' }}}}",
        }
    return json.dumps(
        {
            "device": {"identifiers": [device], "name": stream, "manufacturer": "affectd"},
            "origin": {"name": "affectd", "sw_version": affectd_version()},
            "state_topic": f"{topics}/state",
            "availability": [by_affectd, by_state],
            "availability_mode": "all",
            "components": {
                key: {"unique_id": f"{device}_{key}", **component}
                for key, component in components.items()
            },
        }
    )
