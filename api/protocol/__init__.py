"""The AWS Query protocol by the service model: forms to parameters, results and faults to XML.

Pure: no sockets, no clock, no application. What the model does not say is on record in the
docstrings of the modules, as a decision.
"""
