"""A model taken elsewhere: ONNX Runtime, OpenVINO, transformers, sentence-transformers."""
