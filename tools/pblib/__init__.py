# SPDX-License-Identifier: BSD-2-Clause
"""What the runners and checks under tools/ share. Tested by tools/check.py, which is made of it."""
