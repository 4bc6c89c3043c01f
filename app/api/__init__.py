"""The HTTP interface of the application.

One request, in the order of its modules:

1. application       the Flask application, built once before the fork; web_process holds its connections
2. tracing           gives the request its id; at the end it writes the log line and counts
3. routing           the declaration of the route: access, limit, inputs; it calls the next four in this order
4. identity          verifies the token, or the ticket of a stream
5. limits            counts the request against the rate limit of its user
6. request_parsing   path, headers and query, then the body, as validated models; bodies has their bounds,
                     json_body and split_body parse, fields has types that several models share
7. the view          in generations, messages, conversations, feeds, search, transfer, usage, account, models,
                     tickets or ops: it calls one service
8. representations   make the JSON of the result, and json_response the response; starting, streams, feed_frames and
                     waiting make the responses that last longer
9. errors            turns every exception on this way into a problem (RFC 9457)

document serves the OpenAPI document, probes the endpoints for machines, cors the headers for other origins. openai and
aisdk offer generations under the protocols of OpenAI and the AI SDK.
"""
