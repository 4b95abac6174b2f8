"""RDB files: what is in one, and one made into several by hash slot.

Belongs here: the bytes of the file format, read without an engine. What a value means is the
engine's business: values are measured and passed on as they are, never taken apart.
"""
