"""Makes what runs match what is recorded.

Belongs here: the records (`state`), the pure decisions (`planning`), the places where processes
run (`drivers`), the passes that act (`reconciler`), and what watches (`health`). Does not belong
here: anything of HTTP or of the AWS wire (`cachefleet.api`), and anything that one engine process
or one byte stream is (`cachefleet.engine`).
"""
