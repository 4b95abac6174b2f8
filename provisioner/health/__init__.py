"""Watches nodes: ended processes at once, silent ones by deadline.

Belongs here: seeing that something is wrong, and saying with which node. What is done about it is
a settling of the subject (`reconciler`), which finds the loss itself and fails over where it must.
"""
