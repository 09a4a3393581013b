"""A device that answers commands as MQTT 5.0 means it: to the response topic of each, with its correlation data.
Prints `subscribed`, then a JSON line for each command."""

import argparse
import json
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

arguments = argparse.ArgumentParser()
arguments.add_argument("--port", type=int, required=True)
arguments.add_argument("--id", required=True)
options = arguments.parse_args()

client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=options.id, protocol=mqtt.MQTTv5)


def connected(client, _userdata, _flags, reason, _properties):
    if reason.is_failure:
        sys.exit(str(reason))
    client.subscribe(f"devices/{options.id}/commands", 1)


def subscribed(_client, _userdata, _mid, reasons, _properties):
    if any(reason.is_failure for reason in reasons):
        sys.exit(str(reasons))
    print("subscribed", flush=True)


def received(client, _userdata, message):
    command = json.loads(message.payload)
    asked = message.properties
    properties = Properties(PacketTypes.PUBLISH)
    properties.CorrelationData = asked.CorrelationData
    properties.ContentType = "application/json"
    client.publish(asked.ResponseTopic, json.dumps({"done": command}), 1, properties=properties)
    fields = {
        "command": command,
        "correlation": asked.CorrelationData.decode(),
        "response": asked.ResponseTopic,
        "expiry": asked.MessageExpiryInterval,
    }
    print(json.dumps(fields), flush=True)


client.on_connect, client.on_subscribe, client.on_message = connected, subscribed, received
client.connect("127.0.0.1", options.port)
client.loop_forever()
