"""The HTTP door: parse a request, call a service, render the answer.

application    puts the Flask application together
process        what one web process keeps: resources, hub, sweeper
routing        one way to declare a route: who may call it, how often, what it reads and answers
identity       who is asking: verifies tokens
limits         how often somebody may ask
reading        JSON bodies, queries and paths into validated models
errors         error class to status; every refusal as a problem (RFC 9457)
render         domain objects to JSON, each in one place
shapes         the same objects as models, for the OpenAPI document
tracing        request ids, log lines and numbers of each request
document       the OpenAPI document and its page
streams, starting, feed_frames    what several resources answer with: streams, begun generations, events of feeds
generations, conversations, messages, feeds, …    the resources, one file each
openai, aisdk    the same generations in other people's protocols
"""
