"""BERT's layers in compiled kernels, on processors that have bf16 products; `native/` is in C.

`layers.encode` computes what `encoder.Layer` says, on the packed stream and without padding, and
`library` says whether this process may.
"""
