"""Where are the faces: one file per backend."""
