"""Monitoring: profiles, drift, performance, and the outcomes that labels make of predictions."""
