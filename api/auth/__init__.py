"""Who is asking: Signature Version 4, checked when authentication is enforced, and identities."""
