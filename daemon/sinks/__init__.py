"""Where annotated pictures and readings go: one file per kind of sink."""
