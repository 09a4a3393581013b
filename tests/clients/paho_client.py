"""Drives paho-mqtt from a test. `publish` takes JSON lines {"topic", "payload"} on standard input and
prints `acknowledged N` once all of them are; `subscribe` prints `subscribed`, then a JSON line a message."""

import argparse
import json
import sys

import paho.mqtt.client as mqtt

arguments = argparse.ArgumentParser()
arguments.add_argument("what", choices=["publish", "subscribe"])
arguments.add_argument("--port", type=int, required=True)
arguments.add_argument("--qos", type=int, default=1)
arguments.add_argument("--version", type=int, choices=[4, 5], default=5)
arguments.add_argument("--id", default="")
arguments.add_argument("--filter", default="#")
options = arguments.parse_args()

client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=options.id, protocol=options.version)
client.max_inflight_messages_set(100)


def publish() -> None:
    client.connect("127.0.0.1", options.port)
    client.loop_start()
    waiting = []
    for line in sys.stdin:
        message = json.loads(line)
        waiting.append(client.publish(message["topic"], message["payload"], options.qos))
    for message in waiting:
        message.wait_for_publish(120)
        if not message.is_published():
            sys.exit("a message was not acknowledged")
    print("acknowledged", len(waiting), flush=True)
    client.disconnect()
    client.loop_stop()


def subscribe() -> None:
    def connected(client, _userdata, _flags, reason, _properties):
        if reason.is_failure:
            sys.exit(str(reason))
        client.subscribe(options.filter, options.qos)

    def subscribed(_client, _userdata, _mid, reasons, _properties):
        if any(reason.is_failure for reason in reasons):
            sys.exit(str(reasons))
        print("subscribed", flush=True)

    def received(_client, _userdata, message):
        fields = {"topic": message.topic, "payload": message.payload.decode(), "qos": message.qos, "retain": message.retain}
        print(json.dumps(fields), flush=True)

    client.on_connect, client.on_subscribe, client.on_message = connected, subscribed, received
    client.connect("127.0.0.1", options.port)
    client.loop_forever()


publish() if options.what == "publish" else subscribe()
