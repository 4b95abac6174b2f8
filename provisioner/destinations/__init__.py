"""Where logs are delivered to: a service of AWS behind any endpoint, or a folder.

Belongs here: how one destination takes records. What is sent, and when, is the business of
`delivery`.
"""
