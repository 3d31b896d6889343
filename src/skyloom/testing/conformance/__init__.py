"""Suites that every adapter of a port passes: pytest classes to derive from, with a fixture that opens the adapter.

The fixture gives a function without arguments that opens the same store again each time, also in another process: it
can be pickled (a `functools.partial` of the adapter's class is). A class called ``...OnFullDisk`` is for stores in files.
"""
