"""Peers as people run them: each file is a program for its own environment, ``python FILE PORT FOLDER KIND``, where KIND is
``sklearn`` (what the training function returned) or ``onnx`` (the same file that Skyloom serves, in ONNX Runtime)."""
