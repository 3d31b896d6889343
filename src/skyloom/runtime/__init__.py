"""What `skyloom up` runs, and what its commands do: thin drivers that read state, let the middle rows decide, and store."""
