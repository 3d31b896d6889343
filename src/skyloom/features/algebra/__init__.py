"""The one kernel, for stream, batch and serving: events lifted into tiles, tiles merged, values finished."""
