"""The figures of the project, measured: ``python -m bench`` for all of them, ``python -m bench import help up`` for some."""
