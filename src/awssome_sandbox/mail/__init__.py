"""The mail sandbox: an SMTP server that keeps what it is sent in memory and shows it on a page.

No message leaves it.
"""
