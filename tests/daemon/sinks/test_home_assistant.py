"""What Home Assistant is told of a stream, by its own rules."""

from __future__ import annotations

import json
import re
from typing import Any

import jinja2
import pytest

from classifiers.expression import LABELS
from daemon.sinks.home_assistant import device_id, discovery
from daemon.sinks.mqtt import state
from tests.daemon.outputs import face

# What its documentation accepts, of MQTT discovery and of the two kinds of entities.
DEVICE = {"identifiers", "name", "manufacturer", "model", "sw_version", "configuration_url"}
ORIGIN = {"name", "sw_version", "support_url"}
SHARED = {"device", "origin", "components", "state_topic", "availability", "availability_mode"}
ENTITY = {"platform", "name", "unique_id", "icon", "entity_category", "value_template"}
ENTITY |= {"device_class", "availability", "json_attributes_topic", "json_attributes_template"}
OF_A_KIND = {"binary_sensor": ENTITY, "sensor": ENTITY | {"state_class", "options"}}
BASE = "home/affectd/front-door"


@pytest.fixture
def told() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(discovery(BASE, "front-door"))
    return found


def render(template: str, payload: str) -> str:
    return str(jinja2.Template(template).render(value=payload, value_json=json.loads(payload)))


def shown(told: dict[str, Any], payload: str) -> dict[str, str]:
    """What each entity shows by a state; that of one that is not available is left out."""

    def is_available(component: dict[str, Any]) -> bool:
        rules = component.get("availability", told["availability"])
        told_of = [rule for rule in rules if rule["topic"] == f"{BASE}/state"]
        return all(render(rule["value_template"], payload) == "online" for rule in told_of)

    return {
        key: render(component["value_template"], payload)
        for key, component in told["components"].items()
        if is_available(component)
    }


def test_it_is_of_the_form_that_home_assistant_accepts(told: dict[str, Any]) -> None:
    assert set(told) == SHARED
    assert set(told["device"]) <= DEVICE
    assert set(told["origin"]) <= ORIGIN
    assert told["availability_mode"] == "all"
    for component in told["components"].values():
        assert set(component) <= OF_A_KIND[component["platform"]]
        assert {"platform", "unique_id", "name", "value_template"} <= set(component)
        # Options go with the class "enum" alone, and with no class of states.
        assert ("options" in component) == (component.get("device_class") == "enum")
        assert not {"options", "state_class"} <= set(component)
    unique = [component["unique_id"] for component in told["components"].values()]
    assert len(set(unique)) == len(unique) == 3 + len(LABELS)
    (known,) = told["device"]["identifiers"]
    assert all(one.startswith(f"{known}_") for one in unique)


def test_a_name_fits_a_topic_of_discovery() -> None:
    assert device_id("affectd/lobby") == "affectd_lobby"
    alike = ["кухня/cam", "спаль/cam", "a/b/c", "a_b/c", "a/b_c", "a b/c"]
    assert len({device_id(topics) for topics in alike}) == len(alike)
    assert re.fullmatch(r"[a-zA-Z0-9_-]+", device_id("home/my affectd/ü/front-door_2"))


def test_what_entities_show(told: dict[str, Any]) -> None:
    found = shown(told, state(True, [face("happy"), face("sad", track=2, side_px=20)]))
    assert (found["camera"], found["faces"], found["expression"]) == ("ON", "2", "happy")
    assert [label for label in LABELS if found[label] == "ON"] == ["happy", "sad"]
    assert [found[label] for label in LABELS].count("OFF") == 5
    template = told["components"]["faces"]["json_attributes_template"]
    assert json.loads(render(template, state(True, [face("happy")])))["happy"] == 1


def test_every_expression_is_an_option(told: dict[str, Any]) -> None:
    options = told["components"]["expression"]["options"]
    for label in (*LABELS, "unknown", None):
        assert shown(told, state(True, [face(label)]))["expression"] in options
    assert shown(told, state(True, ()))["expression"] == "none"


def test_expressions_can_be_told_apart_by_their_icons(told: dict[str, Any]) -> None:
    icons = {told["components"][label]["icon"] for label in LABELS}
    assert len(icons) == len(LABELS)
    assert all(re.fullmatch(r"mdi:emoticon-[a-z]+-outline", icon) for icon in icons)


def test_of_a_camera_that_is_away_nothing_else_is_shown(told: dict[str, Any]) -> None:
    assert shown(told, state(False, ())) == {"camera": "OFF"}


def test_all_is_away_with_affectd(told: dict[str, Any]) -> None:
    rules = [told["availability"], *(c.get("availability") for c in told["components"].values())]
    for rule in filter(None, rules):
        assert {"topic": f"{BASE}/availability"} in rule
