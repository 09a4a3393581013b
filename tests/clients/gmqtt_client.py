"""Drives gmqtt from a test; the same commands and lines as paho_client.py, MQTT 5 always. `subscribe`
keeps its session for an hour where `--id` names it; `resume` goes on with that session, without a SUBSCRIBE."""

import argparse
import asyncio
import json
import sys

import gmqtt
from gmqtt.storage import PersistentStorage

arguments = argparse.ArgumentParser()
arguments.add_argument("what", choices=["publish", "subscribe", "resume"])
arguments.add_argument("--port", type=int, required=True)
arguments.add_argument("--qos", type=int, default=1)
arguments.add_argument("--id", default=None)
arguments.add_argument("--filter", default="#")
options = arguments.parse_args()

AT_ONCE = 50

waiting = PersistentStorage()
properties = {"session_expiry_interval": 3600} if options.id else {}
client = gmqtt.Client(options.id, clean_session=options.what != "resume", persistent_storage=waiting, **properties)


async def publish() -> None:
    await client.connect("127.0.0.1", options.port)
    messages = [json.loads(line) for line in sys.stdin]
    for start in range(0, len(messages), AT_ONCE):
        for message in messages[start : start + AT_ONCE]:
            client.publish(message["topic"], message["payload"], options.qos)
        await asyncio.wait_for(waiting.wait_empty(), 120)
    await client.disconnect()
    print("acknowledged", len(messages), flush=True)


async def receive() -> None:
    present = asyncio.get_running_loop().create_future()
    granted = asyncio.get_running_loop().create_future()

    def received(_client, topic, payload, qos, properties):
        fields = {"topic": topic, "payload": payload.decode(), "qos": qos, "retain": bool(properties["retain"])}
        print(json.dumps(fields), flush=True)
        return 0

    def connected(_client, flags, _reason, _properties):
        present.set_result(flags)
        # Before any message of the session, which may come in the same read.
        if flags & 1 and options.what == "resume":
            print("subscribed", flush=True)

    client.on_message, client.on_connect = received, connected
    client.on_subscribe = lambda _client, _mid, reasons, _properties: granted.set_result(reasons)
    await client.connect("127.0.0.1", options.port)
    if options.what == "resume":
        if not await present & 1:
            sys.exit("the session is gone")
    else:
        client.subscribe(options.filter, options.qos)
        if any(reason > 2 for reason in await granted):
            sys.exit("refused")
        print("subscribed", flush=True)
    await asyncio.Event().wait()


asyncio.run(publish() if options.what == "publish" else receive())
