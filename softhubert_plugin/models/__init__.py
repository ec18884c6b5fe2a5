"""The models ``soft_hubert`` and ``distil_hubert``, and the parts that they are built from."""
