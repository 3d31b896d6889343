"""What is tested with: features by their users (`given`), adapters by their authors (conformance suites, real faults)."""

from skyloom.testing.given import given

__all__ = ["given"]
