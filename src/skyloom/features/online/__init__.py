"""Features kept up to date in an online store by the stream, and read there by serving."""
