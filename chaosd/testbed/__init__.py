"""Stack, proxies, target and topics, alive: opened new, or rebuilt from its directory by any process.

Also chaosd's own instruments on it: canaries through the proxies, and samples of the processes' sockets and resources.
"""
