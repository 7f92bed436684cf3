"""BERT's layers in compiled kernels: in bf16 where the processor multiplies it, or else in fp32.

`layers.encode` computes what `encoder.Layer` says, on the packed stream and without padding, and
`library` says whether this process may. `native/` has them in C.
"""
