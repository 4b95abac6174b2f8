"""The service's metrics from what engines count: definitions, and how each is worked out. Pure.

A sample is what one node said at one instant; metrics are made of a sample and the one before it.
Who asks, when, and where the numbers go is not known here.
"""
