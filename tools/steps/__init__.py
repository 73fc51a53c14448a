# SPDX-License-Identifier: BSD-2-Clause
"""The steps of the check: each file here has a list STEPS for one group, and so have the files of pblib that the check's own
cases are written in. Tested by tools/tests/test_check.py."""
import importlib

FILES = [  # in the order of their results
    "steps.build", "steps.unit", "steps.lint", "steps.model", "steps.guest", "steps.bochs", "steps.vmx", "steps.linux", "steps.vms",
    "steps.vms_debian", "steps.virtio", "steps.boot",
    "pblib.menu", "pblib.kinds", "pblib.guests", "pblib.badinput", "pblib.consoles", "pblib.typist", "pblib.monitor",
    "pblib.gdbsteps", "steps.package", "steps.devices", "steps.devices_screen",
    "steps.devices_io", "steps.devices_disk", "steps.devices_session", "steps.docs",
]


def all_steps():
    return [step for name in FILES for step in importlib.import_module(name).STEPS]
