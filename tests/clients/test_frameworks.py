"""The examples of docs/clients/frameworks.md, run unchanged, and tools and a kill through unmodified frameworks."""

from __future__ import annotations

import json
import os
import subprocess

import openai
import pytest
import requests

from tests.clients import frameworks
from tests.clients.conftest import Site
from tests.clients.node import HERE, installed, node
from tests.clients.test_docs_openai import environment, examples

pytestmark = pytest.mark.slow

PAGE = "frameworks.md"

# Each answers "It is 42." after the model has called a function of the program.
TOOLS = {
    "openai-agents": """
        import sys
        from agents import Agent, Runner, function_tool, set_tracing_disabled
        set_tracing_disabled(True)
        @function_tool
        def add(a: int, b: int) -> int:
            return a + b
        print(Runner.run_sync(Agent(name="a", model="fake", tools=[add]), sys.argv[1]).final_output)
    """,
    "langchain": """
        import sys
        from langchain_core.messages import HumanMessage, ToolMessage
        from langchain_openai import ChatOpenAI
        def add(a: int, b: int) -> int:
            "Add."
            return a + b
        model = ChatOpenAI(model="fake").bind_tools([add])
        said = [HumanMessage(sys.argv[1])]
        said.append(model.invoke(said))
        said += [ToolMessage(str(add(**call["args"])), tool_call_id=call["id"]) for call in said[-1].tool_calls]
        print(model.invoke(said).text)
    """,
    "pydantic-ai": """
        import sys
        from pydantic_ai import Agent
        from pydantic_ai.models.openai import OpenAIChatModel
        agent = Agent(OpenAIChatModel("fake"))
        @agent.tool_plain
        def add(a: int, b: int) -> int:
            return a + b
        print(agent.run_sync(sys.argv[1]).output)
    """,
    "litellm": """
        import json, os, sys
        import litellm
        def ask(messages):
            return litellm.completion(model="openai/fake", messages=messages, api_base=os.environ["OPENAI_BASE_URL"],
                api_key=os.environ["OPENAI_API_KEY"], tools=[{"type": "function", "function": {"name": "add",
                "parameters": {"type": "object", "properties": {}}}}], top_k=5).choices[0].message
        said = [{"role": "user", "content": sys.argv[1]}]
        said.append(ask(said).model_dump())
        for call in said[-1]["tool_calls"]:
            result = sum(json.loads(call["function"]["arguments"]).values())
            said.append({"role": "tool", "tool_call_id": call["id"], "content": str(result)})
        print(ask(said).content)
    """,
}


def run(site: Site, code: str, *arguments: str) -> str:
    """The output of a program that has the frameworks."""
    command = [str(frameworks.python()), "-c", code, *arguments]
    ran = subprocess.run(command, env=environment(site), capture_output=True, text=True, timeout=200)
    assert ran.returncode == 0, ran.stderr[-4000:]
    return ran.stdout


@pytest.mark.parametrize("number", range(len(examples(PAGE, "python"))))
def test_examples_in_python_run(site: Site, number: int) -> None:
    run(site, examples(PAGE, "python")[number])


@pytest.mark.parametrize("code", examples(PAGE, "js"))
def test_examples_in_node_run(site: Site, code: str) -> None:
    installed()
    script = HERE / f"frameworks-{os.getpid()}.mjs"
    script.write_text(code)
    try:
        process = node(script, OPENAI_BASE_URL=site.base_url, OPENAI_API_KEY=site.key())
        _, errors = process.communicate(timeout=200)
    finally:
        script.unlink()
    assert process.returncode == 0, errors


@pytest.mark.parametrize("framework", TOOLS)
def test_a_framework_runs_its_own_tools(site: Site, framework: str) -> None:
    call = {"name": "add", "arguments": {"a": 20, "b": 22}}
    wish = json.dumps({"fake": {"text": "It is 42.", "tool_call": call, "tool_rounds": 1}})
    lines = [line.removeprefix("        ") for line in TOOLS[framework].splitlines()]
    assert run(site, "\n".join(lines), f"Add 20 and 22. {wish}").strip() == "It is 42."


def test_what_open_webui_sends_is_answered(site: Site) -> None:
    """A turn of Open WebUI: the models, a streamed answer with its own fields, and prompts for a title and tags."""
    client = openai.OpenAI(base_url=site.base_url, api_key=site.key("webui"), max_retries=0)
    assert "offline-fast" in {model.id for model in client.models.list()}
    stream = client.chat.completions.create(
        model="offline-fast",
        messages=[{"role": "user", "content": "What is an outbox?"}],
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"metadata": {"chat_id": "c1"}, "keep_alive": "5m"},
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    for task in ("title", "tags", "follow-up"):
        prompt = f"### Task:\nGenerate a {task} for the chat history."
        answer = client.chat.completions.create(
            model="offline-fast", messages=[{"role": "user", "content": prompt}], max_tokens=1000
        )
        assert answer.choices[0].message.content
    authorized = {"Authorization": f"Bearer {site.key('webui')}"}
    listed = requests.get(f"{site.web.url}/api/v1/conversations", headers=authorized, timeout=10)
    assert listed.json()["items"] == []


def test_a_framework_does_not_notice_a_killed_worker(site: Site) -> None:
    code = """
import sys
from langchain_openai import ChatOpenAI
for chunk in ChatOpenAI(model="fake", timeout=120).stream(sys.argv[1]):
    print(chunk.text, end="", flush=True)
"""
    wish = json.dumps({"fake": {"tokens": 150, "rate": 30}})
    command = [str(frameworks.python()), "-c", code, wish]
    with subprocess.Popen(command, env=environment(site), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        begun = process.stdout.read(40)
        site.kill_worker()
        whole = begun + process.stdout.read()
    assert process.returncode == 0
    assert len(whole.split()) > 100
