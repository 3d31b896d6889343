"""The control plane's HTTP API: what the command line can do, for programs."""
