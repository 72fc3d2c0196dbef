// Asks for the states once a second and keeps one card for each stream.

import { Card } from "./card.js";
import { Pictures } from "./pictures.js";
import { busy, count } from "./words.js";

const POLL_MS = 1000;
const TIMEOUT_MS = 5000;

const cards = new Map();
const pictures = new Pictures((name, blob) => cards.get(name)?.show(blob));
let last = null;
let lastHeardAt = performance.now();

function setText(id, text) {
  const element = document.getElementById(id);
  if (element.textContent !== text) element.textContent = text;
}

function setAlert(text) {
  setNotice("alert", text);
}

function setNotice(id, text) {
  document.getElementById(id).hidden = !text;
  setText(id, text);
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
  setText("summary", `${live} of ${count(streams.length, "stream", "streams")} live`);
  document.title = `${live}/${streams.length} live · affectd`;
  const parts = [`version ${states.version}`];
  if (build.detector) parts.push(`detector ${build.detector}`);
  if (build.weights) parts.push(`weights ${build.weights}`);
  if (build.device) parts.push(`on ${build.device}`);
  if (build.engine) parts.push(`by ${build.engine}`);
  setText("build", parts.join(" · "));
  setAlert(states.models_loaded ? "" : "The models are being loaded; expressions follow.");
  setNotice("load", busy(states.load));
}

function showSilence(why) {
  pictures.want([]); // Their connection may be as dead, and would never say so.
  setAlert(why);
  setNotice("load", "");
  setText("summary", "No answer");
  document.title = "no answer · affectd";
  if (!last) return;
  const gone = { state: "lost", reason: null, last_error: null, faces: [], sinks: [], fps: 0 };
  const for_s = (performance.now() - lastHeardAt) / 1000;
  showStreams(
    last.streams.map((stream) => ({ ...stream, ...gone, for_s })),
    last.colours,
  );
}

async function poll() {
  try {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const response = await fetch("/api/streams", { signal, cache: "no-store" });
    if (response.status === 401) {
      showSilence("This browser is not signed in (any more). Open /?token=… with the token.");
    } else if (!response.ok) {
      throw new Error(String(response.status));
    } else {
      show(await response.json());
      lastHeardAt = performance.now();
      pictures.want(last.streams.filter((stream) => stream.mjpeg).map((stream) => stream.name));
    }
  } catch {
    showSilence("affectd does not answer. This page goes on by itself when it is back.");
  }
  setTimeout(poll, POLL_MS);
}

poll();
