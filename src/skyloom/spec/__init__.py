"""What a user declares: small frozen classes without I/O, one noun a file."""
