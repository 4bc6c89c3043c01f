"""A worker with OpenAI's SDK, as the SDK's documentation shows streaming.

python -m bench.peers.worker_openai BASE_URL REDIS_URL ANSWERS
"""

from __future__ import annotations

import json
import sys
from threading import Thread

import redis
from openai import DefaultHttpxClient, OpenAI


def answer(upstream: OpenAI, client: redis.Redis, number: int) -> None:
    log, channel, n = f"bench:{{{number}}}:log", f"bench:{{{number}}}:live", 0
    stream = upstream.chat.completions.create(
        model="bench",
        messages=[{"role": "user", "content": f"This is answer number {number}"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    for chunk in stream:
        if chunk.choices and (text := chunk.choices[0].delta.content):
            n += 1
            payload = json.dumps({"type": "token", "content": text})
            client.xadd(log, {"e": payload}, id=f"1-{n}")
            client.publish(channel, f"1-{n} {payload}")


def main() -> None:
    base_url, redis_url, answers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    client = redis.Redis.from_url(redis_url)
    upstream = OpenAI(base_url=base_url, api_key="none", http_client=DefaultHttpxClient(trust_env=False))
    threads = [Thread(target=answer, args=(upstream, client, number)) for number in range(answers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
