// The page's texts.

export const STATES = {
  live: "Live",
  connecting: "Connecting",
  stalled: "Stalled",
  down: "Down",
  ended: "Ended",
  lost: "Unknown",
};

const REASONS = {
  connect_refused: "Nobody answers at its address",
  auth_failed: "User name or password refused",
  not_found: "The source is not there",
  tls: "No secure connection",
  timeout: "No answer in time",
  stalled: "Its pictures stopped",
  frozen: "Its picture stands still",
  no_video: "There is no video in it",
  unsupported: "Its format is not supported",
  decode_error: "Its pictures are damaged",
  end_of_stream: "The source ended",
  not_writable: "Cannot be written",
  disk_full: "The disk is full",
  encode_error: "Pictures could not be encoded",
  internal: "A fault inside affectd",
};

export function reason(name) {
  return REASONS[name] ?? name ?? "";
}

// "3 min ago"; at least "1 s ago".
export function ago(seconds) {
  return `${duration(Math.max(1, seconds))} ago`;
}

export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  const min = Math.floor(s / 60);
  if (min < 60) return `${min} min`;
  const h = Math.floor(min / 60);
  if (h < 48) return `${h} h ${min % 60} min`;
  return `${Math.floor(h / 24)} days`;
}

// The local time of day, with the date where it is not today's.
export function moment(iso) {
  const then = new Date(iso);
  const time = [then.getHours(), then.getMinutes(), then.getSeconds()];
  const clock = time.map((n) => String(n).padStart(2, "0")).join(":");
  if (then.toDateString() === new Date().toDateString()) return clock;
  return `${then.toLocaleDateString()} ${clock}`;
}

export function percent(probability) {
  return `${Math.round(probability * 100)} %`;
}

export function count(n, one, many) {
  return n === 0 ? `no ${one}` : `${n} ${n === 1 ? one : many}`;
}

// How much less faces are read while the machine is too slow for all of them; else empty.
export function busy(load) {
  if (!load || (load.crops === load.crops_wanted && load.thinning === 1)) return "";
  const parts = [];
  if (load.crops < load.crops_wanted) {
    parts.push(`each is read in ${load.crops} of ${load.crops_wanted} views`);
  }
  if (load.thinning > 1) parts.push(`they are read ${load.thinning} times less often`);
  return `More faces than this machine can read in time: ${parts.join(", and ")}.`;
}

// Does nothing if the text is the same already: screen readers would read it out again.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
