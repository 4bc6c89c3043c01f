"""OpenAI's chat completions: OpenAI itself, vLLM, llama.cpp, Ollama, OpenRouter and many more.

provider      the provider. openai_http is its side of HTTP
history       the messages of any history in the one form that every upstream takes, pure
request       prompt to request, pure. parameters are read for other protocols, capabilities for what models lack
completions   bytes of an answer to pieces, pure. chunks and template are its parts
fields        the forms of a chunk's fields, pure. So are usage, call_places, think_tags and whole_messages
thoughts      reasoning that comes twice, pure
"""
