"""``python -m hpcpgd.doctor.gpu_facts``: what CuPy reports of the GPUs here, as JSON."""

from __future__ import annotations

import json
from typing import Any

from hpcpgd.errors import UnavailableError
from hpcpgd.machine.gpu import open_device


def observe() -> dict[str, Any]:
    """Return why backend ``cuda`` cannot work, or the name and memory of every device."""
    try:
        open_device("cuda", 0)
    except UnavailableError as error:
        return {"refused": str(error), "devices": []}
    import cupy

    devices = []
    for number in range(cupy.cuda.runtime.getDeviceCount()):
        with cupy.cuda.Device(number):
            name = cupy.cuda.runtime.getDeviceProperties(number)["name"].decode()
            devices.append([name, *cupy.cuda.runtime.memGetInfo()])
    return {"refused": "", "devices": devices}


if __name__ == "__main__":
    print(json.dumps(observe()))
