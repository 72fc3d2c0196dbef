"""From a source to a sink: capture, schedule, track, draw, publish, count."""
