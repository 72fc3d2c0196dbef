// Keeps one card for each stream.

import { Card } from "./card.js";
import { Pictures } from "./pictures.js";
import { follow } from "./states.js";
import { busy, count, setText } from "./words.js";

const cards = new Map();
const pictures = new Pictures((name, blob) => cards.get(name)?.show(blob));
let last = null;
let lastHeardAt = performance.now();

// Sets the text of an element, and hides it if the text is empty.
function say(id, text) {
  const element = document.getElementById(id);
  element.hidden = !text;
  setText(element, text);
}

function showStreams(streams, colours) {
  const main = document.getElementById("streams");
  for (const [name, card] of cards) {
    if (streams.some((stream) => stream.name === name)) continue;
    card.element.remove();
    card.play(null);
    cards.delete(name);
  }
  for (const stream of streams) {
    if (!cards.has(stream.name)) {
      cards.set(stream.name, new Card(stream.name));
      main.append(cards.get(stream.name).element);
    }
    cards.get(stream.name).update(stream, colours);
  }
  main.dataset.count = streams.length;
}

function show(states) {
  last = states;
  const { streams, build } = states;
  showStreams(streams, states.colours);
  const live = streams.filter((stream) => stream.state === "live").length;
  say("summary", `${live} of ${count(streams.length, "stream", "streams")} live`);
  document.title = `${live}/${streams.length} live · affectd`;
  const parts = [`version ${states.version}`];
  if (build.detector) parts.push(`detector ${build.detector}`);
  if (build.weights) parts.push(`weights ${build.weights}`);
  if (build.device) parts.push(`on ${build.device}`);
  if (build.engine) parts.push(`by ${build.engine}`);
  say("build", parts.join(" · "));
  const loading = "The models are being loaded; expressions follow.";
  say("alert", states.models_loaded ? pictures.refused : loading);
  say("load", busy(states.load));
  lastHeardAt = performance.now();
  pictures.want(streams.filter((stream) => stream.mjpeg).map((stream) => stream.name));
}

function showSilence(why) {
  pictures.want([]); // Their connection may be as dead, and would never say so.
  say("alert", why);
  say("load", "");
  say("summary", "Not connected");
  document.title = "not connected · affectd";
  if (!last) return;
  const gone = { state: "lost", reason: null, last_error: null, faces: [], sinks: [], fps: 0 };
  const for_s = (performance.now() - lastHeardAt) / 1000;
  showStreams(
    last.streams.map((stream) => ({ ...stream, ...gone, for_s })),
    last.colours,
  );
}

follow(show, showSilence);
