"""Requests to addresses that users name, such as those of webhooks.

rules      the rules of a deployment: schemes, ports and private networks that may be called
addresses  the verdict on one IP address
target     the parts of a URL whose form is allowed
resolver   the addresses of a host, looked up once within a deadline, each of them allowed
exchange   one request and the beginning of its response, on one connection
client     the whole way of a request, within bounds of time and bytes
"""
