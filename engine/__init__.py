"""What one engine process, or one stream of bytes to it, is.

Here belongs whatever is true of a single node without knowing who asked for it: how its
configuration file is written, how it is asked for its role, which binary can run it, what
the service's catalogue says about its size and its parameters. Nothing here knows a
database, a web framework, a customer or a fleet, and nothing here decides that a process
should start or stop: the provisioner does.
"""
