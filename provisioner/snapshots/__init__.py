"""Where copies of data are kept, and how they are kept from being read, lost or half there.

Belongs here: files and objects (a folder or S3), encryption of what leaves a node's memory, keys,
manifests. Nothing here knows a cache, a node or an operation: the reconciler does.
"""
