"""Many tables answered: file by file, here or by Ray, in shards, and gone on with after any end."""

from trivium.apps.batch.predict import predict_files

__all__ = ["predict_files"]
