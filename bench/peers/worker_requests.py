"""A worker as the documents of requests and redis-py show it: a thread for each answer, two calls for each token.

python -m bench.peers.worker_requests BASE_URL REDIS_URL ANSWERS
"""

from __future__ import annotations

import json
import sys
from threading import Thread

import redis
import requests


def answer(base_url: str, client: redis.Redis, number: int) -> None:
    messages = [{"role": "user", "content": f"This is answer number {number}"}]
    body = {"model": "bench", "messages": messages, "stream": True, "stream_options": {"include_usage": True}}
    log, channel, n = f"bench:{{{number}}}:log", f"bench:{{{number}}}:live", 0
    with requests.post(f"{base_url}/chat/completions", json=body, stream=True, timeout=60) as response:
        for line in response.iter_lines():
            if not line.startswith(b"data: ") or line == b"data: [DONE]":
                continue
            chunk = json.loads(line[6:])
            if chunk["choices"] and (text := chunk["choices"][0]["delta"].get("content")):
                n += 1
                payload = json.dumps({"type": "token", "content": text})
                client.xadd(log, {"e": payload}, id=f"1-{n}")
                client.publish(channel, f"1-{n} {payload}")


def main() -> None:
    base_url, redis_url, answers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    client = redis.Redis.from_url(redis_url)
    threads = [Thread(target=answer, args=(base_url, client, number)) for number in range(answers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
