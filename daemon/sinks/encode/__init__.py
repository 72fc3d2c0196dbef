"""From pictures to H.264: the encoder, its packets, and the fragments that files are made of."""
