"""Drives aiomqtt from a test; the same commands and lines as paho_client.py, MQTT 5 always."""

import argparse
import asyncio
import json
import sys

import aiomqtt

arguments = argparse.ArgumentParser()
arguments.add_argument("what", choices=["publish", "subscribe"])
arguments.add_argument("--port", type=int, required=True)
arguments.add_argument("--qos", type=int, default=1)
arguments.add_argument("--id", default=None)
arguments.add_argument("--filter", default="#")
options = arguments.parse_args()

AT_ONCE = 50


async def publish(client: aiomqtt.Client) -> None:
    messages = [json.loads(line) for line in sys.stdin]
    for start in range(0, len(messages), AT_ONCE):
        batch = messages[start : start + AT_ONCE]
        await asyncio.gather(*(client.publish(m["topic"], m["payload"], options.qos, timeout=120) for m in batch))
    print("acknowledged", len(messages), flush=True)


async def subscribe(client: aiomqtt.Client) -> None:
    await client.subscribe(options.filter, options.qos)
    print("subscribed", flush=True)
    async for message in client.messages:
        fields = {"topic": str(message.topic), "payload": message.payload.decode(), "qos": message.qos, "retain": message.retain}
        print(json.dumps(fields), flush=True)


async def main() -> None:
    connection = aiomqtt.Client(
        "127.0.0.1", options.port, identifier=options.id, protocol=aiomqtt.ProtocolVersion.V5, max_inflight_messages=AT_ONCE
    )
    async with connection as client:
        await (publish(client) if options.what == "publish" else subscribe(client))


asyncio.run(main())
