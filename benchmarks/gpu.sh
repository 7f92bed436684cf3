#!/bin/sh
# What is to be known of a GPU, in under 13 minutes: the tests that need one, then training and
# prediction against others. From the repository's root, with trivium, transformers and
# sentence-transformers installed: sh benchmarks/gpu.sh
set -u
timeout 150 python -m pytest -q -n 0 -m gpu tests/model/test_triton_gpu.py
timeout 240 python -m pytest -q -n 0 -m gpu tests/model/test_on_gpu.py tests/run/test_gpu.py tests/run/test_whole_gpu.py tests/parts/test_regularizers.py
timeout 60 python -m benchmarks.gpu_layers
timeout 150 python -m benchmarks.gpu --cases sst-32 sst-256 cfimdb-16 quora-32 --batches 25 --predict 20000
TRIVIUM_TRITON=0 timeout 60 python -m benchmarks.gpu --cases sst-32 sst-256 --batches 25 --alone --profile
timeout 90 python -m benchmarks.gpu --cases sst-256 --encoders base --batches 15
timeout 110 python -m benchmarks.gpu --cases sst-32 --batches 25 --compiled --profile
