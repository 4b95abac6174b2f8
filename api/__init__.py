"""The AWS Query front-end: a signed form post in, an intent on record and an XML answer out.

What belongs here is bytes to a validated request by the service model, an action's handler, a
result dict, and bytes again. A handler checks, records and answers; it talks to no process and no
engine. What runs is the provisioner's business.
"""
