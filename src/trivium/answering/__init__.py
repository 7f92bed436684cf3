"""Trained tasks without torch: how their rows are read, and how answers are said.

A server's front, and a machine that has a model as an ONNX file, need no more than this.
"""
