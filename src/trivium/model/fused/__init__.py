"""BERT's layers on a GPU with everything between their products in a few kernels of Triton.

`layers.encode` computes what `encoder.Layer` says, on the packed stream in bf16, and `layers.fits`
says whether it may. `kernels` is the one file that needs Triton, which comes with PyTorch for CUDA.
"""
