"""Where rows come from that are not ours: databases, and brokers of others."""
