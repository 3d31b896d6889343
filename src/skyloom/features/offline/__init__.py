"""Features of many requests at once, out of the lake: the point-in-time join and training sets."""
