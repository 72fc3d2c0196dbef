"""`affectd video`: a file annotated to its end, every frame with its own readings."""
