"""What the servers in this folder do alike before they listen."""

import argparse
import resource


def options(description, *arguments, broker=False):
    """`--listen` as `host` and `port`, and what else a server wants to be told: pairs of a name and its choices.

    With `broker` it is a node, which is told the URL of the Redis that connects it with the others.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--listen", metavar="HOST:PORT", required=True)
    if broker:
        parser.add_argument("--broker", metavar="URL", required=True)
    for name, choices in arguments:
        parser.add_argument(name, choices=choices, default=choices[0])
    # The soft limit is 1,024 on most systems, whatever the hard one allows.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    parsed = parser.parse_args()
    parsed.host, _, port = parsed.listen.rpartition(":")
    parsed.port = int(port)
    return parsed
