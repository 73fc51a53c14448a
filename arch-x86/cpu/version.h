/* SPDX-License-Identifier: BSD-2-Clause */
/* The version the banner and a panic print. Tested by every boot. */
#pragma once
#ifndef PATCHBAY_VERSION
#define PATCHBAY_VERSION "0.1"
#endif
