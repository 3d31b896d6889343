"""What authors of adapters test with: conformance suites and real faults."""
