"""Programs that compute the same training set, each in a process and an environment of its own: ``PROGRAM FOLDER RUNS``.

Each reads ``events.arrow`` and ``labels.arrow``, computes the features RUNS times, writes those of the last run in the
order of the labels to ``PROGRAM.arrow``, and prints as JSON the ``seconds`` of each run (without reading and writing), the
``worked`` seconds of processor time of each, and the ``mb`` of memory that the process took at most.
"""
