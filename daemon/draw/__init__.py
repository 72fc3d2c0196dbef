"""What is drawn on a frame, and how: on its Y, U and V planes."""
