"""Delivery: gates, rollouts, releases and retraining. Decisions without I/O; thin drivers loop."""
