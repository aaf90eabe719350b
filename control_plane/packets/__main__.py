"""Write the published JSON Schema: `python -m control_plane.packets`."""

import json
from pathlib import Path

from control_plane.packets.schema import json_schema

TARGET = Path(__file__).with_name("context-packet.schema.json")

if __name__ == "__main__":
    TARGET.write_text(json.dumps(json_schema(), indent=2) + "\n", encoding="utf-8")
