"""The central API as its clients see it: the bodies it speaks, and a client."""
