"""From a face in a frame to its reading: cropped, queued, classified in batches, judged."""
