"""The formats that requests come in and answers go out in."""
