"""HTTP to upstreams.

interface    the transport's interface. direct implements it, proxied does by way of a proxy, transports chooses
call         one request, whose body goes into a reader. redirects says which redirects are followed
body         a body on its way from the socket to its reader. backlog holds the part that waits
answer_body  the body of an answer, poured into its reader until it ends. charset turns it into UTF-8
"""
